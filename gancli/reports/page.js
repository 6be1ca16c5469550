"use strict";
// The animation of a run: one picture at a time, chosen by the slider or shown in turn.
for (const film of document.querySelectorAll(".film")) {
  film.classList.remove("no-script");
  const frames = film.querySelectorAll("img"), slider = film.querySelector("input");
  const button = film.querySelector("button"), label = film.querySelector("output");
  let timer = 0;
  const show = (index) => {
    frames.forEach((frame, k) => { frame.hidden = k !== index; });
    slider.value = index;
    label.textContent = frames[index].alt;
  };
  const stop = () => { clearInterval(timer); timer = 0; button.textContent = "Play"; };
  const next = () => { const index = Number(slider.value) + 1; if (index < frames.length) show(index); else stop(); };
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) === frames.length - 1) show(0);
    button.textContent = "Pause";
    timer = setInterval(next, Math.max(80, Math.min(500, 5000 / frames.length)));
  });
}
