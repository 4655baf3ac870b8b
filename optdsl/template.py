"""What `optdsl new` writes: a small optimizer that passes every check, with a word about each line."""

TEMPLATE = """\
# {title}: say here which paper this is from and which of its equations follow, and where other
# implementations differ. These lines become the documentation of the compiled optimizer.
optimizer {title}

# Hyperparameters: a default, and the values that make sense. All of them can be changed at every step.
hyper lr   = 1e-2   in [0, inf)
hyper beta = 0.9    in [0, 1)     as momentum     # `as`: the name that training code uses

# A switch that is decided when the optimizer is made; what it does not need is not kept in memory.
flag nesterov = false

# What is kept from step to step, and its value before the first.
state m[0] = 0   as momentum_buffer

# One step. x[t] is the new value, x[t-1] the old one, a name without an index holds for this step only;
# g[t] is the gradient, t the number of the step, theta the parameters.
m[t] = beta*m[t-1] + g[t]
update = if nesterov then g[t] + beta*m[t] else m[t]
theta[t] = theta[t-1] - lr*update
"""


def new_spec(name: str) -> str:
    """The text of a spec whose optimizer is called after its file: `my_adam` becomes `MyAdam`."""
    title = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return TEMPLATE.format(title=title)
