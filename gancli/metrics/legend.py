"""Says what every number is that gancli shows, its unit, which way is better and what is good.

This table is the only place where that is written: `gan list metrics`, the tooltips of the report
and compare pages and docs/metrics.md all read it. `python -m gancli.metrics.legend` prints
docs/metrics.md.
Nothing here imports torch.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

Direction = Literal["higher", "lower", ""]


class Line(NamedTuple):
    """One number, or a family of them.

    Attributes:
        key: The name that is shown; words in capitals stand for a part that varies.
        what: What the number is, in words.
        unit: Its unit, or its range.
        better: Which direction is better; "" where neither is.
        good: Which values are good.
        item: The item of `metrics.items` that measures it, "" for others.
    """

    key: str
    what: str
    unit: str
    better: Direction
    good: str
    item: str = ""


FLOOR = "close to what held-out reals reach (the column `held-out reals`)"
BALANCE = "no value is good by itself; it should stay bounded"

PROGRESS = (
    Line(
        "step",
        "real batches drawn so far, the clock of a run",
        "steps",
        "",
        "ends at trainer.steps",
    ),
    Line("nimg", "reals seen in training, over all processes", "reals", "", ""),
    Line("kimg", "reals seen in training; every schedule reads it", "1,000 reals", "", ""),
    Line("time", "training so far, over all sessions of a run", "seconds", "", ""),
    Line("elapsed", "since this session began", "h:mm:ss", "", ""),
    Line("eta", "what is left at the present speed", "h:mm:ss", "", ""),
    Line(
        "img/s",
        "reals a second; evaluations and pictures are included",
        "reals per second",
        "higher",
        "compare it only between runs that had the machine for themselves",
    ),
    Line(
        "s/img",
        "seconds for one of the reals, where it is less than one a second",
        "seconds",
        "lower",
        "",
    ),
    Line(
        "mem", "the most memory that the process has used", "bytes", "lower", "less than there is"
    ),
    Line(
        "load",
        "processes that wanted a CPU core, the system's mean over a minute",
        "processes",
        "",
        "at most the number of cores; above it the speed says little",
    ),
)

TRAINING = (
    Line(
        "watch/diversity",
        "how much samples differ from each other, relative to reals (root mean square "
        "of the values)",
        "ratio",
        "",
        "near 1; far below 1 the samples have collapsed to a few",
    ),
    Line(
        "d/adv",
        "the adversarial loss of the discriminator, without penalties",
        "loss",
        "",
        "between 0 (it has won, the generator learns nothing) and chance level (it sees no "
        "difference: 1.39 for non_saturating, 0.25 for lsgan, 2 for hinge, 0.69 for rpgan and "
        "ragan); for wgan it is minus an estimate of the distance and rises towards 0",
    ),
    Line("g/adv", "the adversarial loss of the generator", "loss", "", BALANCE),
    Line(
        "mle/nats",
        "what a token of training lines costs the generator while likelihood is maximised",
        "nats",
        "lower",
        "ln of the number of tokens knows nothing",
    ),
    Line(
        "g/reward",
        "mean reward of the tokens that a policy gradient has drawn",
        "score, or probability to be real",
        "higher",
        BALANCE,
    ),
    Line("d/real", "mean raw score (no probability) of reals", "score", "", BALANCE),
    Line(
        "d/fake",
        "mean raw score of samples",
        "score",
        "",
        "stays within reach of d/real",
    ),
    Line(
        "d/spread",
        "standard deviation of the scores of reals and samples together; in logs of older runs",
        "score",
        "",
        BALANCE,
    ),
    Line(
        "d/contrast",
        "how much the score of a real differs from that of the sample beside it, of the same "
        "label or source (root mean square)",
        "score",
        "",
        "above 0; near 0 for long, with d/adv at chance level, the discriminator has given up",
    ),
    Line(
        "d/sign_real",
        "overfitting heuristic r_t of ADA: mean sign of the scores of reals, 1 if all are "
        "taken for real",
        "-1 to 1",
        "",
        "near 0.6 (the target of ADA); near 1 for long, the discriminator overfits; with wgan and "
        "relativistic losses, whose scores have no zero, it says nothing",
    ),
    Line(
        "d/p",
        "the probability of each augmentation, which ADA adapts",
        "0 to 1",
        "",
        "stays below 0.8",
    ),
    Line(
        "d/gp",
        "gradient penalty between reals and samples: (gradient norm - target)^2",
        "squared gradient norm",
        "",
        "small and steady",
    ),
    Line(
        "d/dragan",
        "gradient penalty around reals: (gradient norm - target)^2",
        "squared gradient norm",
        "",
        "small and steady",
    ),
    Line(
        "d/r1",
        "squared gradient norm of the score at reals",
        "squared gradient norm",
        "",
        "small; a steady rise means that the discriminator overfits or the weight is too low",
    ),
    Line(
        "d/r2",
        "squared gradient norm of the score at samples",
        "squared gradient norm",
        "",
        "small",
    ),
    Line(
        "d_r1/r1",
        "as d/r1, in a phase of its own (StyleGAN2)",
        "squared gradient norm",
        "",
        "small",
    ),
    Line("d/drift", "mean squared score of reals", "squared score", "", "small"),
    Line(
        "d/lecam",
        "squared distance of scores to the running mean of the other side, both sides added",
        "squared score",
        "",
        "small",
    ),
    Line(
        "d/consistency",
        "squared change of a score when its image is flipped and moved; with `fake` above 0 that "
        "of generated images, `fake` times, is added",
        "squared score",
        "",
        "small",
    ),
    Line(
        "d/HEAD_accuracy",
        "share of reals whose class an auxiliary head tells",
        "0 to 1",
        "",
        "rises",
    ),
    Line(
        "g/HEAD_accuracy",
        "share of samples that an auxiliary head reads as meant",
        "0 to 1",
        "",
        "rises",
    ),
    Line("d/HEAD_ce", "cross-entropy of an auxiliary head on reals", "nats", "", "falls"),
    Line("g/HEAD_ce", "cross-entropy of an auxiliary head on samples", "nats", "", "falls"),
    Line("d/HEAD_2c", "class contrast (ContraGAN) of reals", "nats", "", "falls"),
    Line("g/HEAD_2c", "class contrast of samples", "nats", "", "falls"),
    Line("d/acgan_real", "cross-entropy of the classes of reals (ACGAN)", "nats", "", "falls"),
    Line("d/acgan_fake", "cross-entropy of the classes of samples", "nats", "", "falls"),
    Line(
        "g/acgan_fake",
        "cross-entropy of the classes of samples, in the generator's step",
        "nats",
        "",
        "falls",
    ),
    Line(
        "PLAYER/mi",
        "lower bound of what images tell about the codes (InfoGAN); 0 is nothing",
        "nats",
        "",
        "rises towards the entropy of the codes, 2.3 for one code of ten categories",
    ),
    Line(
        "PLAYER/ce",
        "cross-entropy of the categorical codes (InfoGAN)",
        "nats",
        "",
        "falls towards 0",
    ),
    Line("PLAYER/nll", "negative log-likelihood of the continuous codes", "nats", "", "falls"),
    Line("d/simclr", "contrast of two views of the same image (ContraD)", "nats", "", "falls"),
    Line(
        "d/apart", "how well embeddings keep generated images apart (ContraD)", "nats", "", BALANCE
    ),
    Line("g/fm", "distance of mean features of reals and samples", "features", "", "falls"),
    Line(
        "g/cycle",
        "mean absolute difference between images and what comes back of them, both ways added",
        "values in -1 to 1",
        "",
        "falls",
    ),
    Line(
        "g/identity",
        "what a translator changes in images of its own target domain",
        "values in -1 to 1",
        "",
        "falls",
    ),
    Line(
        "PHASE/pixel",
        "distance of outputs to targets (L1, L2 or Huber: model.pixel)",
        "values in -1 to 1",
        "",
        "falls",
    ),
    Line(
        "PHASE/front",
        "distance of outputs to targets where the target is not background (people in poses)",
        "values in -1 to 1",
        "",
        "falls",
    ),
    Line(
        "PHASE/kl",
        "divergence of the encoder's latents from those that are drawn (BicycleGAN)",
        "nats",
        "",
        "a few nats; 0 where the encoder says nothing",
    ),
    Line(
        "PHASE/latent",
        "distance between a drawn latent and what the encoder finds of it (BicycleGAN)",
        "deviations",
        "",
        "below 0.8, which an encoder that knows nothing reaches",
    ),
    Line(
        "PHASE/perceptual",
        "distance of outputs to targets in the features of a network",
        "features",
        "",
        "falls",
    ),
    Line(
        "PHASE/content",
        "distance of deep features to those of the content image",
        "features",
        "",
        "falls",
    ),
    Line(
        "PHASE/style",
        "distance of feature correlations to those of the style image",
        "features",
        "",
        "falls",
    ),
    Line(
        "PHASE/rough",
        "total variation: difference of neighbouring pixels",
        "values in -1 to 1",
        "",
        "small",
    ),
    Line(
        "g_pl/pl",
        "path length penalty of StyleGAN2: squared distance of path lengths to their running mean",
        "squared path length",
        "",
        "small and steady",
    ),
    Line(
        "g_pl/length",
        "mean path length: how far an image moves with its style",
        "values in -1 to 1, for each unit of style",
        "",
        "settles",
    ),
    Line(
        "PHASE/recovery",
        "mean squared distance of series to what comes back of their codes (TimeGAN)",
        "squared values in 0 to 1",
        "",
        "falls towards 0",
    ),
    Line(
        "PHASE/supervised",
        "mean squared distance of codes to what is foretold of the step before (TimeGAN)",
        "squared code",
        "",
        "falls",
    ),
    Line(
        "g/moments",
        "distance of means and of deviations of samples to those of the batch (TimeGAN)",
        "values in 0 to 1",
        "",
        "falls",
    ),
    Line(
        "d/raw_adv",
        "what generated codes cost the discriminator that the supervisor has not seen (TimeGAN)",
        "loss",
        "",
        BALANCE,
    ),
    Line("g/raw_adv", "g/adv of such codes (TimeGAN)", "loss", "", BALANCE),
    Line("g/raw_fm", "g/fm of such codes (TimeGAN)", "features", "", "falls"),
    Line(
        "d/CRITIC_adv",
        "d/adv of one of several discriminators (a, b: domains; level0: the finest)",
        "loss",
        "",
        "as d/adv",
    ),
    Line("g/CRITIC_adv", "g/adv against one of several discriminators", "loss", "", BALANCE),
    Line("d/CRITIC_real", "d/real of one of several discriminators", "score", "", BALANCE),
    Line("d/CRITIC_fake", "d/fake of one of several discriminators", "score", "", BALANCE),
    Line("d/CRITIC_contrast", "d/contrast of one of several discriminators", "score", "", BALANCE),
    Line(
        "d/CRITIC_PENALTY",
        "d/PENALTY of one of several discriminators",
        "as of d/PENALTY",
        "",
        "small",
    ),
    Line("g/CRITIC_fm", "g/fm against one of several discriminators", "features", "", "falls"),
)

EVALUATION = (
    Line(
        "swd",
        "sliced Wasserstein distance of image patches, mean over sizes, times 1000; needs no "
        "network",
        "10^-3",
        "lower",
        FLOOR,
        "swd",
    ),
    Line(
        "swd/PIXELS",
        "sliced Wasserstein distance of image patches at one size of the image pyramid, times 1000",
        "10^-3",
        "lower",
        FLOOR,
        "swd",
    ),
    Line(
        "fid",
        "Frechet distance of Inception features (FID): quality and variety in one",
        "squared features",
        "lower",
        FLOOR + "; comparable only with equal n, reference and weights",
        "frechet",
    ),
    Line(
        "spectral",
        "difference of the mean power of recordings at each frequency",
        "log10 of power",
        "lower",
        f"{FLOOR}; 0.6 is twice the amplitude",
        "spectra",
    ),
    Line(
        "fd_bands",
        "Frechet distance of how loud 16 bands of recordings are, and how much they change",
        "squared log10 of power",
        "lower",
        FLOOR,
        "spectra",
    ),
    Line(
        "fd_FEATURES",
        "Frechet distance of other features than Inception's; fd_self: of a small classifier "
        "trained on the run's own labels",
        "squared features",
        "lower",
        FLOOR + "; it is no FID, and compares only on one data set with one network",
        "frechet",
    ),
    Line(
        "kid",
        "kernel distance of Inception features (KID); less biased on few images",
        "squared features",
        "lower",
        FLOOR,
        "kernel",
    ),
    Line("kid_std", "spread of kid over subsets", "squared features", "", "", "kernel"),
    Line(
        "kd_FEATURES_std",
        "spread of kd_FEATURES over subsets",
        "squared features",
        "",
        "",
        "kernel",
    ),
    Line(
        "kd_FEATURES",
        "kernel distance of other features",
        "squared features",
        "lower",
        FLOOR,
        "kernel",
    ),
    Line(
        "is",
        "inception score: sure classes and all of them; does not look at real images",
        "1 to classes",
        "higher",
        FLOOR,
        "inception_score",
    ),
    Line("is_std", "spread of is over ten parts", "", "", "", "inception_score"),
    Line("is_FEATURES_std", "spread of is_FEATURES over ten parts", "", "", "", "inception_score"),
    Line(
        "is_FEATURES",
        "inception score by another classifier",
        "1 to classes",
        "higher",
        FLOOR,
        "inception_score",
    ),
    Line(
        "precision_FEATURES",
        "share of samples that look real (near real features)",
        "0 to 1",
        "higher",
        FLOOR,
        "prdc",
    ),
    Line(
        "recall_FEATURES",
        "share of real images that samples reach",
        "0 to 1",
        "higher",
        FLOOR,
        "prdc",
    ),
    Line(
        "density_FEATURES",
        "real neighbourhoods around a sample; may exceed 1",
        "ratio",
        "higher",
        "about 1",
        "prdc",
    ),
    Line(
        "coverage_FEATURES",
        "share of real images with a sample near",
        "0 to 1",
        "higher",
        "about 0.97",
        "prdc",
    ),
    Line(
        "modes",
        "classes (or centres of a mixture) that samples show",
        "count",
        "higher",
        "all there are",
        "classes modes",
    ),
    Line(
        "kl",
        "how uneven the classes of samples are: KL divergence of their shares to the real ones",
        "nats",
        "lower",
        "0; n samples of a perfect generator give about (classes - 1) / 2n",
        "classes modes",
    ),
    Line(
        "class_accuracy",
        "share of samples that a classifier reads as the class asked for",
        "0 to 1",
        "higher",
        FLOOR,
        "classes",
    ),
    Line(
        "marginal_by_class",
        "the marginal distance within each class, mean over classes (each class's own stands in "
        "the protocol)",
        "deviations",
        "lower",
        FLOOR,
        "marginal_by_class",
    ),
    Line(
        "discriminative_by_class",
        "how well a judge of 24 units or more tells samples of a class from its reals, mean over "
        "classes (each class's own stands in the protocol)",
        "0 to 0.5",
        "lower",
        f"0 cannot tell; {FLOOR}",
        "discriminative_by_class",
    ),
    Line(
        "cas",
        "accuracy on real images of a classifier trained on samples alone",
        "0 to 1",
        "higher",
        "near that of one trained on real images (in the protocol)",
        "cas",
    ),
    Line(
        "code_accuracy",
        "share of real images whose code (InfoGAN) stands for their class",
        "0 to 1",
        "higher",
        "1; one of the number of classes by chance",
        "codes",
    ),
    Line(
        "memorisation_FEATURES",
        "distance of samples to training images, relative to that of held-out images",
        "ratio",
        "",
        "near 1; near 0 samples are copies; above 1 they are poor",
        "memorisation",
    ),
    Line(
        "copies_FEATURES",
        "share of samples as near to a training image as 1 % of held-out ones",
        "0 to 1",
        "lower",
        "0.01 is chance",
        "memorisation",
    ),
    Line(
        "train_share_FEATURES",
        "share of samples whose nearest real image is a training image",
        "0 to 1",
        "",
        "the chance level in the protocol; above it samples resemble training images",
        "memorisation",
    ),
    Line(
        "critic_gap",
        "mean score of training images above that of held-out ones",
        "score",
        "lower",
        "0",
        "overfitting",
    ),
    Line(
        "critic_overfit",
        "mean score of training images above held-out ones, relative to the gap to samples",
        "ratio",
        "lower",
        "0 does not overfit, 1 does entirely",
        "overfitting",
    ),
    Line(
        "ms_ssim",
        "likeness of pairs of samples (multi-scale SSIM): lower is more variety",
        "0 to 1",
        "lower",
        FLOOR,
        "ms_ssim",
    ),
    Line(
        "lpips",
        "perceptual distance of pairs of samples: higher is more variety",
        "distance",
        "higher",
        FLOOR,
        "lpips",
    ),
    Line(
        "high_quality",
        "share of points within 3 sigma of a centre",
        "0 to 1",
        "higher",
        "0.989, not 1",
        "modes",
    ),
    Line(
        "w1",
        "Wasserstein-1 distance of point clouds, mean over projections",
        "data units",
        "lower",
        FLOOR,
        "w1",
    ),
    Line(
        "marginal",
        "Wasserstein-1 distance of the values of series, mean over features",
        "deviations of the real feature",
        "lower",
        FLOOR,
        "marginal",
    ),
    Line(
        "autocorrelation",
        "difference of the autocorrelations of series, mean over lags and features",
        "correlation",
        "lower",
        f"{FLOOR}; 0.1 and less is near",
        "autocorrelation",
    ),
    Line(
        "spectrum",
        "difference of the mean power of series at each frequency",
        "log10 of power",
        "lower",
        FLOOR,
        "spectrum",
    ),
    Line(
        "cross_correlation",
        "difference of the correlations of features at one step",
        "correlation",
        "lower",
        FLOOR,
        "cross_correlation",
    ),
    Line(
        "discriminative",
        "how well a recurrent judge of half as many units as features tells samples from reals, "
        "|accuracy - 0.5| on a fifth of them, the mean over `metrics.judges` (Yoon et al. 2019)",
        "0 to 0.5",
        "lower",
        f"0 cannot tell; {FLOOR}, also when small; published numbers of TimeGAN were not "
        "reproduced by others",
        "discriminative",
    ),
    Line(
        "discriminative_std",
        "spread of discriminative over judges, where there are several",
        "0 to 0.5",
        "",
        "",
        "discriminative",
    ),
    Line(
        "discriminative_wide",
        "the same of a judge of 24 units or more, which sees what the small one cannot",
        "0 to 0.5",
        "lower",
        FLOOR,
        "discriminative",
    ),
    Line(
        "discriminative_wide_std",
        "spread of discriminative_wide over judges, where there are several",
        "0 to 0.5",
        "",
        "",
        "discriminative",
    ),
    Line(
        "predictive",
        "mean absolute error on reals of a recurrent predictor of the last feature, one step "
        "ahead, that was trained on samples (Yoon et al. 2019)",
        "share of the real feature's range",
        "lower",
        "saturated, bad samples come near: never rank by it",
        "predictive",
    ),
    Line(
        "predictive_std",
        "spread of predictive over judges, where there are several",
        "share of the real feature's range",
        "",
        "",
        "predictive",
    ),
    *(
        Line(
            f"js{n}",
            f"Jensen-Shannon divergence of the {words} of samples from those of held-out lines",
            "bits, 0 to 1",
            "lower",
            "what as many training lines reach, in the protocol beside two chains that know little",
            "ngrams",
        )
        for n, words in enumerate(("tokens", "pairs", "triples", "runs of four tokens"), 1)
    ),
    Line(
        "nll",
        "what a token of held-out lines costs the generator, where it has a likelihood",
        "nats",
        "lower",
        "it rises where quality is bought with diversity: compare nll_mle",
        "likelihood",
    ),
    Line(
        "oracle_nll",
        "what a token of samples costs the oracle that wrote the data",
        "nats",
        "lower",
        "what the oracle's own lines cost (protocol); far below it the samples repeat themselves",
        "oracle",
    ),
    Line(
        "unique",
        "share of samples that differ from all others",
        "0 to 1",
        "higher",
        "what held-out lines reach (protocol)",
        "uniqueness",
    ),
    Line(
        "copied",
        "share of samples that are training lines",
        "0 to 1",
        "",
        "short lines are often right by chance; near 1 the generator has memorised",
        "uniqueness",
    ),
    Line(
        "NUMBER_mle",
        "the same number of the generator as it was when maximum likelihood ended",
        "of that number",
        "",
        "text GANs often lose to it: quote both",
    ),
    Line(
        "psnr",
        "peak signal-to-noise ratio of outputs against targets",
        "dB",
        "higher",
        "above psnr_mean and psnr_source; 30 and more is close",
        "psnr",
    ),
    Line(
        "psnr_y",
        "peak signal-to-noise ratio of outputs against targets, on luma alone",
        "dB",
        "higher",
        "as psnr",
        "psnr",
    ),
    Line(
        "psnr_source",
        "psnr that the copied source reaches as an answer",
        "dB",
        "",
        "psnr should be above it",
        "psnr",
    ),
    Line(
        "psnr_mean",
        "psnr that the mean of all targets reaches as an answer",
        "dB",
        "",
        "psnr should be above it",
        "psnr",
    ),
    Line(
        "ssim",
        "structural similarity of outputs and targets",
        "-1 to 1",
        "higher",
        "above ssim_mean and ssim_source; 1 is equal",
        "ssim",
    ),
    Line(
        "ssim_source",
        "ssim that the copied source reaches as an answer",
        "-1 to 1",
        "",
        "ssim should be above it",
        "ssim",
    ),
    Line(
        "ssim_mean",
        "ssim that the mean of all targets reaches as an answer",
        "-1 to 1",
        "",
        "ssim should be well above it; it is often above that of the source",
        "ssim",
    ),
    Line(
        "iou",
        "overlap of the silhouettes of outputs and targets: intersection over union",
        "0 to 1",
        "higher",
        "1 is the same shape, whatever its colours; read it beside ssim",
        "silhouette",
    ),
    Line(
        "iou_source",
        "iou that the source itself reaches as an answer",
        "0 to 1",
        "",
        "iou should be above it",
        "silhouette",
    ),
    Line(
        "iou_mean",
        "iou of the mean of all targets",
        "0 to 1",
        "",
        "iou should be above it",
        "silhouette",
    ),
    Line(
        "lpips_distance",
        "perceptual distance of outputs to targets",
        "distance",
        "lower",
        "0 is equal",
        "lpips",
    ),
    Line(
        "cycle",
        "mean absolute difference of an image and what comes back of it",
        "values in -1 to 1",
        "lower",
        "small, while outputs differ from their sources",
        "cycle",
    ),
    Line(
        "psnr_best",
        "psnr of the best of eight answers to a source",
        "dB",
        "higher",
        "above psnr, more so the more the answers differ where the source leaves it open",
        "answers",
    ),
    Line(
        "answers_dssim",
        "1 less the structural similarity of two answers to a source",
        "0 to 2",
        "",
        "0 where the latent is ignored; large numbers can be noise",
        "answers",
    ),
    Line(
        "answers_lpips",
        "perceptual distance of two answers to a source",
        "distance",
        "",
        "0 where the latent is ignored",
        "answers",
    ),
)

FEATURES = (
    Line(
        "linear_critic",
        "accuracy of a linear probe on the discriminator's features",
        "0 to 1",
        "higher",
        "above linear_pixels and chance",
    ),
    Line(
        "linear_critic_train",
        "accuracy of a linear probe on the discriminator's features of what it learned from",
        "0 to 1",
        "",
        "",
    ),
    Line(
        "linear_pixels", "accuracy of a linear probe on raw pixels", "0 to 1", "", "the one to beat"
    ),
    Line(
        "linear_pixels_train",
        "accuracy of a linear probe on raw pixels of what it learned from",
        "0 to 1",
        "",
        "",
    ),
    Line(
        "knn_critic",
        "accuracy of the k nearest neighbours among the discriminator's features",
        "0 to 1",
        "higher",
        "above knn_pixels and chance",
    ),
    Line(
        "knn_pixels",
        "accuracy of the k nearest neighbours among raw pixels",
        "0 to 1",
        "",
        "the one to beat",
    ),
    Line("chance", "accuracy of always saying the largest class", "0 to 1", "", ""),
    Line(
        "distance",
        "of gan project: between the given image and the one found (LPIPS or pixels)",
        "distance",
        "lower",
        "well below the start",
    ),
)

# What a user's own loss or head logs matches only these.
OTHERS = (
    Line(
        "d/NAME",
        "a term of the discriminator's loss, by its name in the config, before its weight",
        "loss",
        "",
        BALANCE,
    ),
    Line(
        "g/NAME",
        "a term of the generator's loss, by its name in the config, before its weight",
        "loss",
        "",
        BALANCE,
    ),
    Line(
        "PHASE/NAME",
        "a term of another phase of a step, by its name, before its weight",
        "loss",
        "",
        BALANCE,
    ),
)

SECTIONS: dict[str, tuple[Line, ...]] = {
    "progress and speed": PROGRESS,
    "training (metrics.jsonl, the display, TensorBoard)": TRAINING,
    "evaluation (evaluation.json, evaluations/, eval/... in metrics.jsonl)": EVALUATION,
    "gan features and gan project": FEATURES,
    "terms of your own": OTHERS,
}
PENALTIES = "gp|dragan|r1|r2|drift|lecam|consistency"
VARIABLE = re.compile(r"_FEATURES|[A-Z]{2,}")
# What a placeholder of a key stands for; anything that is no placeholder here matches one name.
MEANS = {
    "_FEATURES": r"(?:_[\w.-]+)?",  # older runs have the bare name
    "PIXELS": r"\d+(?:x\d+)?",
    "PENALTY": f"(?:{PENALTIES})",
    "PLAYER": "(?:d|g)",
    "PHASE": r"[\w-]+",
}
NAME = r"[\w.-]+"
R1_PHASE = "d_r1/r1"  # StyleGAN2's


@functools.cache
def pattern_of(key: str) -> re.Pattern[str]:
    """Makes the pattern of the names that a key of the table stands for."""
    parts = []
    end = 0
    for found in VARIABLE.finditer(key):
        parts += [re.escape(key[end : found.start()]), MEANS.get(found[0], NAME)]
        end = found.end()
    return re.compile("".join([*parts, re.escape(key[end:])]))


def find_line(name: str) -> Line | None:
    """Finds the line of a number.

    Args:
        name: As it stands in metrics.jsonl, in evaluation.json or on the screen.

    Returns:
        The line, the exact one before one of a family; None if there is none.
    """
    name = name.removeprefix("eval/")
    lines = [line for section in SECTIONS.values() for line in section]
    exact = next((line for line in lines if line.key == name), None)
    return exact or next((line for line in lines if pattern_of(line.key).fullmatch(name)), None)


def find_penalties(config: Mapping[str, object]) -> tuple[str, ...]:
    """Lists the names that a run's config gives to the penalties of its discriminator."""
    loss = config.get("loss")
    penalties = loss.get("penalties") if isinstance(loss, dict) else None
    return tuple(map(str, penalties)) if isinstance(penalties, dict) else ()


def list_once_weighted(config: Mapping[str, object], phases: Iterable[str]) -> list[str]:
    """Names the terms that runs of checkpoint format 1 have logged with their weights.

    Args:
        config: The frozen config of the run.
        phases: The names of its game's phases.

    Returns:
        Keys of the log. Those of one of several discriminators (`d/a_r1`) are left out, since
        each means what the key of all (`d/r1`) means.
    """
    own = [R1_PHASE] if R1_PHASE.partition("/")[0] in phases else []
    return [f"d/{name}" for name in find_penalties(config)] + own


def was_weighted(key: str, config: Mapping[str, object]) -> bool:
    """Tells whether runs of checkpoint format 1 have logged a term with its weight.

    Args:
        key: Of the log.
        config: The frozen config of the run.
    """
    phase, _, name = key.partition("/")
    if key == R1_PHASE:
        return True
    return phase == "d" and any(
        name == penalty or name.endswith(f"_{penalty}") for penalty in find_penalties(config)
    )


def explain(name: str) -> str:
    """Says a number in one sentence or two, for a tooltip; "" if it is unknown."""
    line = find_line(name)
    if line is None:
        return ""
    unit = f" ({line.unit})" if line.unit else ""
    better = f"; {line.better} is better" if line.better else ""
    good = f". Good: {line.good.replace('`', '')}" if line.good else ""
    return f"{line.what}{unit}{better}{good}"


def as_data() -> dict[str, list[dict[str, str]]]:
    """Gives the whole table as plain data, section -> lines."""
    return {
        title: [
            {
                "key": line.key,
                "what": line.what,
                "unit": line.unit,
                "better": line.better,
                "good": line.good,
            }
            for line in lines
        ]
        for title, lines in SECTIONS.items()
    }


def markdown() -> str:
    """Writes docs/metrics.md."""
    text = [
        "# The numbers",
        "",
        "What every number is that gancli shows or writes, its unit, which way is better, and "
        "what is good.",
        "`gan list metrics` prints the same table. Written by `python -m gancli.metrics.legend`; "
        "change the",
        "table in `gancli/metrics/legend.py`.",
        "",
        "Words in capitals stand for a part that varies: FEATURES is the network that looks at "
        "the images",
        "(self, inception, squeezenet, ...), PIXELS a size, HEAD, CRITIC and PENALTY a name in "
        "the config.",
        "In metrics.jsonl and TensorBoard the numbers of an evaluation begin with `eval/`.",
        "",
        "What is *good* depends on the data set. The measure is the floor: the same number for "
        "held-out",
        "reals in place of samples, which a perfect generator would get. `gan evaluate` "
        "shows it as",
        "`held-out reals` where the run holds some out (`dataset.holdout=N`, or a data set "
        "with a test",
        "split); `metrics.floor=true` does while training. Numbers compare only where the protocol",
        "beside them is equal; `gan compare` ranks no others together.",
        "",
        "A term of a loss is logged bare: the quantity itself, before its weight and its interval,",
        "which stand in the config. The weighted total that a phase minimises is not logged.",
        "With several discriminators the plain key is their mean, and each has its own key beside",
        "it (CRITIC).",
        "",
        "`gan evaluate ckpt=RUN protocol=paper` takes the numbers that the run's experiment quotes "
        "and measures each as its paper does: as many samples (50,000 of FID and the inception "
        "score where the paper does not say), the features of Inception. n=, metrics.features= and "
        "metrics.reference= win where they are typed. The table has both numbers and what differs; "
        "evaluations/paper.json holds it as a list. What is not computed here has a row that says "
        "so.",
        "",
        "Samples pass in batches of 64: FEATURES looks at each, and the pixels are let go. Only",
        "numbers that compare pixels (sliced Wasserstein, MS-SSIM, LPIPS, the classifier trained",
        "on samples, the discriminator's scores, metrics of your own) need them to stay: all where",
        "they take 2 GiB at most (10,000 of 256 pixels), else so many random ones as fit (682 of",
        "1024 pixels), and the protocol counts them as n_pixels. 50,000 samples keep 0.6 GB of",
        "features.",
        "",
        "The judges of series follow TimeGAN's code: each feature between the reals' least and "
        "greatest as 0 to 1, as many samples as reals, a GRU of half as many units as features, "
        "2,000 steps of 128 of each kind (5,000 of the predictor), a fifth for the test. "
        "`gan evaluate ckpt=RUN metrics.judges=10` takes the mean over ten as the papers do; one "
        "judge is the default. `metrics.n=N` with as many samples as there are reals uses all of "
        "them. TimeGAN's sines lie between 0.5 and 1, so that its 0.094 of predictive (original "
        "data) is 0.19 here, which reals do reach.",
    ]
    for title, lines in SECTIONS.items():
        text += ["", f"## {title[0].upper()}{title[1:]}", ""]
        text += ["| number | what it is | unit | better | good |", "|---|---|---|---|---|"]
        text += [
            f"| `{line.key}` | {line.what} | {line.unit} | {line.better or '-'} | {line.good} |"
            for line in lines
        ]
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
