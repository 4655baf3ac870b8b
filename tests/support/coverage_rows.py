"""What people look for by name, and what is there for it: a spec, a composition, or the reason why not.

Names come from the libraries themselves (`test_coverage.py` asks them) and from lists of what is used.
Nothing here says that two things are the same: that is what docs/parity.md measures.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`ours`: a spec or a composition; empty where there is none, and `note` says why."""

    source: str
    name: str
    ours: str
    note: str = ""


SPARSE = "updates only the rows that a sparse gradient has; gradients here are dense"
PER_SAMPLE = "needs the gradient of each sample, and a step is given that of the batch"
ONE_STEP = "one step for each gradient, and no line search, which calls a closure until it is content"
RANK = "keeps states of so many rows as the rank that is chosen: no state here has such a shape"
NOT_A_RULE = "no update rule"


Table = Mapping[str, str | tuple[str, str]]

TORCH: Table = {
    "ASGD": "asgd", "Adadelta": "adadelta", "Adafactor": "adafactor", "Adagrad": "adagrad", "Adam": "adam",
    "AdamW": "adamw", "Adamax": "adamax", "LBFGS": ("lbfgs", ONE_STEP), "Muon": "muon",
    "NAdam": "nadam", "RAdam": "radam", "RMSprop": "rmsprop", "Rprop": "rprop", "SGD": "sgd",
    "SparseAdam": ("", SPARSE),
}  # fmt: skip

OPTAX: Table = {
    "adabelief": "adabelief", "adadelta": "adadelta",
    "adafactor": ("adafactor", "torch's; optax's clips and factors otherwise, and may add momentum"),
    "adagrad": "adagrad", "adam": "adam", "adamax": "adamax", "adamaxw": "adamaxw", "adamw": "adamw",
    "adan": "adan", "amsgrad": "amsgrad", "fromage": "fromage", "lamb": "lamb", "lars": "lars",
    "lbfgs": ("lbfgs", ONE_STEP), "lion": "lion", "nadam": "nadam", "nadamw": "nadamw",
    "noisy_sgd": ("noisy_sgd", "other random numbers"), "novograd": "novograd",
    "optimistic_adam": "optimistic_adam", "optimistic_adam_v2": "optimistic_adam",
    "optimistic_gradient_descent": "optimistic_gradient_descent", "polyak_sgd": "polyak_sgd",
    "radam": "radam", "rmsprop": "rmsprop", "rprop": "rprop", "sgd": "sgd", "sign_sgd": "sign_sgd",
    "signum": "signum", "sm3": "sm3", "yogi": "yogi",
    "lookahead": ("sgd | lookahead", "a wrapper"),
}  # fmt: skip

CONTRIB: Table = {
    "acprop": "acprop", "ademamix": "ademamix", "simplified_ademamix": "simplified_ademamix",
    "adopt": "adopt", "cocob": "cocob", "dadapt_adamw": "dadapt_adamw", "dog": "dog", "dowg": "dowg",
    "dpsgd": ("", PER_SAMPLE), "galore": ("", RANK), "madgrad": "madgrad", "momo": "momo",
    "momo_adam": "momo_adam", "muon": "muon", "prodigy": "prodigy",
    "schedule_free_adamw": "schedule_free_adamw", "schedule_free_sgd": "schedule_free_sgd",
    "sophia": "sophia", "sam": ("sgd | sam", "a wrapper"),
    "schedule_free": ("schedule_free_adamw", "as specs of SGD and AdamW, not as a wrapper of any optimizer"),
    "mechanize": ("", "keeps three numbers for each of six betas, written out some 60 lines: numbers here "
                      "have no axis"),
    "reduce_on_plateau": ("", "a rate that follows the loss: torch's ReduceLROnPlateau works on every class"),
    "split_real_and_imaginary": ("", "complex parameters are pairs of real ones; " + NOT_A_RULE),
}  # fmt: skip

FOUNDING: Table = {
    "gradient descent (batch, mini-batch, online, stochastic)": ("gd", "one rule; what differs is the data"),
    "momentum": "momentum", "Nesterov's accelerated gradient": "nesterov", "AdaGrad": "adagrad",
    "AdaDelta": "adadelta", "RMSProp": "rmsprop", "Adam": "adam", "Adamax": "adamax", "Nadam": "nadam",
    "AMSGrad": "amsgrad", "AdaBound": "adabound", "AdamW": "adamw", "RAdam": "radam",
    "Lookahead": "adam | lookahead", "LAMB": "lamb", "L-BFGS": ("lbfgs", ONE_STEP),
    "Newton": ("", "of an objective: `.newton(point)`; a step of training is not given a Hessian"),
    "clipping by value": "clip_by_value(1) | sgd", "clipping by norm": "clip_by_norm(1) | sgd",
    "clipping by global norm": "clip_by_global_norm(1) | sgd", "L1 regularisation": "add_l1(1e-4) | sgd",
    "L2 regularisation": "add_l2(1e-4) | sgd", "decoupled decay": "adam | decoupled_decay(1e-2)",
    "cyclical learning rates": "sgd(lr = cyclical(1e-3, 6e-3))",
    "warm-up": "adamw(lr = warmup(100, 3e-4))",
    "step size 1/beta of the Hessian": ("", "of an objective: `1/f.curvature(point)`; see docs/language.md"),
}  # fmt: skip

NEXT: Table = {
    "LARS": "lars", "Lion": "lion", "AdaBelief": "adabelief", "Adan": "adan", "NovoGrad": "novograd",
    "Yogi": "yogi", "SM3": "sm3", "Adafactor": "adafactor", "Muon": "muon", "Sophia": "sophia",
    "Prodigy": "prodigy", "D-Adaptation": "dadapt_adamw", "schedule-free": "schedule_free_adamw",
    "SAM": "sgd(momentum = 0.9) | sam(rho = 0.05)",
    "ASAM": "sgd(momentum = 0.9) | sam(rho = 0.5, adaptive = true)", "ADOPT": "adopt",
    "AdEMAMix": "ademamix", "MARS": "mars", "LaProp": "laprop", "SOAP": "soap",
    "Shampoo": "shampoo", "CAME": "came",
    "AdamP": "adamp",
    "FTRL": "ftrl", "MADGRAD": "madgrad", "AdaHessian": "adahessian", "cautious": "adamw | cautious",
    "cautious AdamW": "cautious_adamw", "AdamC": "adamc",
    "gradient centralization": "centralize | sgd",
    "Ranger": "centralize | radam(beta1 = 0.95) | lookahead(6, 0.5)",
    "SGLD": "sgld", "extragradient": "extragradient",
}  # fmt: skip

SCHEDULES: Table = {
    "constant": "sgd(lr = constant)", "step": "sgd(lr = step)", "multi-step": "sgd(lr = multi_step)",
    "exponential": "sgd(lr = exponential)", "cosine": "sgd(lr = cosine)",
    "cosine with restarts": "sgd(lr = cosine_restarts)", "polynomial": "sgd(lr = polynomial)",
    "linear": "sgd(lr = linear)", "inverse square root": "sgd(lr = inverse_sqrt)",
    "warm-up, then any": "sgd(lr = warmup(100, polynomial))",
    "warm-up, then cosine": "sgd(lr = warmup_cosine)",
    "cyclical, triangular": "sgd(lr = cyclical)",
    "cyclical, triangular2": "sgd(lr = cyclical(triangular2 = true))",
    "cyclical, exp_range": "sgd(lr = cyclical(exp_range = true))", "one-cycle": "sgd(lr = one_cycle)",
    "warm-up, stable, decay": "sgd(lr = wsd)",
}  # fmt: skip

TABLES: Mapping[str, Table] = {
    "torch.optim": TORCH,
    "optax": OPTAX,
    "optax.contrib": CONTRIB,
    "The classics": FOUNDING,
    "Often asked for": NEXT,
    "Schedules": SCHEDULES,
}


def rows() -> list[Row]:
    found = []
    for source, table in TABLES.items():
        for name, what in table.items():
            ours, note = what if isinstance(what, tuple) else (what, "")
            found.append(Row(source, name, ours, note))
    return found
