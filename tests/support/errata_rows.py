"""The rows of docs/errata.md: what is printed, what is right, and the spec that shows it or why it has none.

What refutes a row is not here: `test_errata_page.py` asks the checker. A formula in `quotes` is as printed,
in the notation of specs.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`specs` are files of tests/errata without `.opt`; without one, `reason` says why none can be."""

    printed: str
    right: str
    specs: tuple[str, ...] = ()
    reason: str = ""


PROSE = "prose: no formula"
SERIES = "about a function, not an optimizer"

ROWS = (
    Row("`mhat = m/(1 - beta1)`, `vhat = v/(1 - beta2)`",
        "`m/(1 - beta1^t)`, `v/(1 - beta2^t)` (Kingma & Ba 2015, Algorithm 1)", ("adam_without_t",)),
    Row("Adam: `theta - lr*mhat/sqrt(vhat)`", "`sqrt(vhat) + eps` (same)", ("adam_without_eps",)),
    Row('Adam has "three hyperparameters"', "four; with three it is row 2", ("adam_without_eps",)),
    Row('Adam\'s v is a "sum of squares"', "an average that forgets; AdaGrad's is the sum",
        ("adam_v_is_a_sum",)),
    Row("AdamW: `theta - lr*(mhat/(sqrt(vhat) + eps) - gamma*theta)`",
        "`+ weight_decay*theta` (Loshchilov & Hutter 2019, Algorithm 2)", ("adamw_decay_sign",)),
    Row("AdamW is in essence L2 in the loss", "it is not, except for SGD (same, Propositions 1 and 2)",
        ("adamw_is_l2",)),
    Row("AdamW with `mhat`, `vhat` that nothing defines", "lines 9 and 10 of Algorithm 2",
        ("unreadable/adamw_mhat",)),
    Row("AdaDelta: `sqrt(sum of dx)/sqrt(h)*g`",
        "`RMS[dx]/RMS[g]*g`, eps in both roots (Zeiler 2012, Algorithm 1)",
        ("adadelta_sum_of_updates", "adadelta_numerator")),
    Row("RMSProp is a special case of AdaDelta", "AdaDelta is RMSProp with RMS[dx] for lr",
        ("rmsprop_from_adadelta",)),
    Row("AdaGrad and RMSProp without eps", "`sqrt(h) + eps`, as every library has it",
        ("adagrad_without_eps", "rmsprop_without_eps")),
    Row("momentum with other letters in the text than in the formula", "one letter each",
        ("unreadable/momentum_names",)),
    Row('momentum is a "weighted average" of gradients', "a sum; its weights add up to 1/(1 - mu)",
        ("momentum_is_an_average",)),
    Row("AdaBound: `Clip(a/sqrt( (V_t), ...)`", "`Clip(alpha/sqrt(V), ...)` (Luo et al. 2019, Algorithm 2)",
        ("unreadable/adabound_bracket",)),
    Row("AdaBound's bounds both converge to the alpha of `alpha/sqrt(V)`",
        "to final_lr, which has another unit (same)", ("adabound_same_alpha",)),
    Row("`Adamax(..., beta_1=, beta_2=, epsilon=)`", "`betas=(..), eps=`",
        reason="a call, not a formula: torch's class and ours raise a TypeError"),
    Row("RAdam settles down to Adam or even to SGD",
        "it begins as SGD with momentum and tends to Adam (Liu et al. 2020, Algorithm 2)",
        ("radam_settles_to_sgd",)),
    Row("`3*(x + 2)/2` as a derivative of z", "of the mean of four z; dz/dx is `6*(x + 2)`", reason=SERIES),
    Row("AdaGrad: when g is small, `1/sqrt(h)` is large", "h only grows, whatever g is",
        ("adagrad_is_an_average",)),
    Row('"NGA"', "NAG", reason="a misprint of a name"),
    Row("second-order methods are very fast; and they are slow", "few steps, each of them costly",
        reason=PROSE),
    Row("multiply by `eta << 0`", "`0 < eta << 1`", ("learning_rate_below_zero",)),
    Row("`theta = theta - gradient`", "`- lr*gradient`", ("gradient_descent_without_lr",)),
    Row("`momentum = momentum + eta*g`, `theta - gamma*momentum`", "`gamma*momentum + eta*g` (Polyak 1964)",
        ("momentum_undamped",)),
    Row("Nesterov: the gradient at `theta + momentum`, where theta moves by minus the momentum",
        "at `theta - gamma*momentum` (Sutskever et al. 2013)", ("nesterov_look_ahead_sign",)),
    Row("and `momentum = momentum + eta*g(look_ahead)`", "`gamma*momentum + ...` (same)",
        ("nesterov_undamped",)),
    Row("RMSProp: `v_t = beta*v_t + g`", "`beta*v[t-1] + (1 - beta)*g^2` (Hinton, lecture 6e, 2012)",
        ("unreadable/rmsprop_reads_itself", "rmsprop_sum_of_gradients")),
    Row("RMSProp: `beta*v + (1 - beta)*g`", "`g^2` (same)", ("rmsprop_without_square",)),
    Row("Adam: `v = beta2*v + (1 - beta2)*g`", "`g^2` (Kingma & Ba 2015, Algorithm 1)", ("adam_linear_v",)),
    Row("`eta/sqrt(v + eps)` for Adam and RMSProp", "`eta/(sqrt(v) + eps)`; eps inside is Zeiler's form",
        ("eps_inside_the_root", "rmsprop_eps_inside")),
    Row("unrolled: `m_3 = gamma*eta*g_1 + gamma*eta*g_2 + eta*g_3`", "`gamma^2*eta*g_1 + ...`",
        ("momentum_unrolled",)),
    Row("unrolled: `m_2 = m_1 + eta*g_2`", "`gamma*m_1 + eta*g_2`", ("momentum_unrolled_twice",)),
    Row("`gamma << 1`", "`gamma < 1`; it is 0.9", reason="how much smaller is meant is not said"),
    Row("unrolled: Adam's `m_3 = beta1*(1 - beta1)*g_1 + ...`", "`beta1^2*(1 - beta1)*g_1 + ...`",
        ("adam_unrolled",)),
    Row('the averaged momentum is "exactly" the momentum', "after lr is divided by 1 - gamma",
        ("momentum_exactly_the_average",)),
    Row("without noise Adam needs no bias correction", "it does: m starts at 0 (Kingma & Ba 2015, section 3)",
        ("adam_uncorrected",)),
    Row("Adam with eta = 0.01, eps = 1e-6", "0.001 and 1e-8 (same)",
        reason="defaults are a choice: `optdsl diff` names those that differ"),
    Row("why RMSProp's root is needed has no clear answer", "without it lr has the unit of the loss",
        ("rmsprop_without_root",)),
    Row("`cos t = 1 - t/2`", "`1 - t^2/2 + ...`", reason=SERIES),
    Row("whatever can be differentiated infinitely often is its series", "not `exp(-1/x^2)`", reason=SERIES),
    Row("`c1*x + c2*x + c3*x`", "`c1*x + c2*x^2 + c3*x^3`", reason=SERIES),
    Row("`L(theta + d) = L + d*gradient`", "approximately", reason=SERIES),
    Row("the gradient is a number, and perpendicular to the normal",
        "a vector, normal to the level set; minus it is steepest descent", reason=PROSE),
    Row("batch gradient descent takes a batch of the samples", "all of them; that is mini-batch",
        reason=PROSE),
    Row("Newton's method is a first-order Taylor expansion", "second order of the loss", reason=PROSE),
    Row("AdaGrad: a moving average of squares", "their sum (Duchi et al. 2011)", ("adagrad_is_an_average",)),
    Row("the derivative of the parameters by the loss", "of the loss by the parameters", reason=PROSE),
    Row('"saddle or saddle"', "saddle or local minimum", reason=PROSE),
    Row("`abs(mhat/sqrt(vhat)) < 1` when `1 - beta1 = sqrt(1 - beta2)` (Kingma & Ba 2015, section 2.1)",
        "it can be 1.018", ("adam_bound_of_one",)),
)  # fmt: skip

NOT_CAUGHT = (
    ("optax, commit 82326d6f: ADOPT with Nesterov stored what is only meant for the step;"
     " google-research, issue 1711: Shampoo's Nesterov changes its buffer",
     "cannot be written by mistake: a stored value and one that is used have different names"),
    ("pytorch, issue 72395: Nesterov's documentation has the index t-1;"
     " geoopt, issue 164: the step is counted twice",
     "cannot be written: old and new values are told apart, and t is not the user's to count"),
    ("pytorch, pull requests 118326 and 92551: one path of Adamax is wrong, one of RAdam ignores eps;"
     " DeepSpeed, pull request 503; apex, issue 1041",
     "two implementations of one formula: a spec has one (and an eps that is not used is a warning, OD502)"),
    ("optax, commits c8dc61b5 (Muon's shape factor), 9e3c681d and 292dcbf7 (DoG);"
     " pytorch_optimizer, issues 371 and 480 (Muon, AdamP) and release 3.6.1 (Scion);"
     " dadaptation, pull request 21; HeavyBall (PSGD, SOAP); pytorch-lamb, issue 3;"
     " transformers, issue 34506 (Adafactor)",
     "norms, matrices and sums over all parameters are not compiled yet (OD801)"),
    ("optax, issue 968: Sophia was shipped with the squared gradient as its Hessian",
     "which estimate of the Hessian is meant is not in the equations of the step"),
    ("optax, issue 1389; pytorch, issue 142323: AMSGrad's maximum before or after the correction",
     "three published variants: `optdsl diff adam amsgrad` says where they part"),
    ("pytorch, issues 2060 and 41477; optax, issue 532; keras, issue 17391: where eps is",
     "the same as `tensorflow_eps_hat` and `eps_inside_the_root`"),
    ("Flux, issue 1962 and blocks, issue 1175: no bias correction;"
     " bitsandbytes, issue 2010: the updated weight decays",
     "the same as `mlx_adam` and `transformers_adamw`"),
    ("HeavyBall, commit 0719952 (AdamC's decay); kyegomez/Sophia, issue 19 (clipping);"
     " pytorch_optimizer, pull request 354 and issue 159",
     "no spec yet: the wrong lines were not to be had"),
    ("pytorch, issues 80809, 103256, 95781; 8-bit states; sharding: state dicts, devices, number formats",
     "not in the formula; the runtime's own tests are about these"),
)  # fmt: skip
"""Bugs that were reported to public libraries, and why the corpus has no spec that refutes them."""

WHERE = """
000:190 | 000:190 | 000:192 | 000:184 | 000:231 | 000:229 | 000:231 | 000:168 | 000:180 |
000:156/160, 178 | 000:131-133 | 000:131, 004:79 | 000:223 | 000:225 | 000:202 | 000:239 | 000:34 |
000:158 | 000:137 | 000:28 vs 281 | 004:61 | 004:59 | 004:111 | 004:123 | 004:127 | 004:166 |
004:170, 195 | 004:204 | 004:196, 205 | 004:90 | 004:88-89 | 004:92 | 004:225 | 004:207 |
004:212-214 | 004:208 | 004:150 | 004:27 | 004:21-25 | 004:23 | 004:51 | 003:35 | 003:42 | 003:43 |
003:48 | 002:5 | 002:23
""".replace("\n", " ").split(" | ")
"""Of the first rows: which of five lecture notes and articles (000 to 004, in Chinese) that this project was
made from, and the line. The last row is a sentence of a paper."""
