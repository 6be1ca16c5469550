"""A run whose every text is hostile."""

from __future__ import annotations

from report_helpers import changed, evaluated, losses, make_run

EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title><svg onload=alert(1)>",
    "' onmouseover='x",
    "&lt;b&gt;",
    "javascript:alert(1)",
    "<!--",
    "]]>",
    "\x00\x1b[31m",
    "\udcff",
]


def hostile(folder, evil: str):
    config = changed(("optimizer.g.lr", f"tell{evil}"), ("trainer.device", evil))
    lines = [line | {f"eval/tell{evil}": 1.0 / line["step"], evil: 2.0} for line in losses(20)]
    found = evaluated(1.0, key=f"tell{evil}", best=(30, 2.0)) | {
        "skipped": {f"s{evil}": f"tell{evil}"},
        "ended": f"tell{evil}",
    }
    found["protocol"][f"p{evil}"] = {f"q{evil}": evil}
    return make_run(
        folder,
        config=config,
        step=20,
        overrides=[f"optimizer.g.lr={evil}", f"+{evil}={evil}"],
        evaluation=found,
        lines=lines,
        choices={"loss": evil},
        classes=(evil, "ok"),
        log=f"2026-01-01T00:00:01Z INFO ended: tell{evil}\n",
    )
