/* Amos, compiled by optdsl for a test
 *
 * Tian & Parikh, "Amos: An Adam-style Optimizer with Adaptive Weight Decay towards Model-Oriented Scale",
 * arXiv:2210.11693, 2022, Algorithm 1, with the decay factors of the authors' code
 * (github.com/google-research/jestimator), as pytorch_optimizer has them.
 *
 * One second moment for each tensor; the decay needs no strength: it follows from `scale`, how large the
 * entries of the trained tensor are expected to be. The paper works `scale` out for every kind of layer, and
 * pytorch_optimizer guesses it from the shape (0.5 for vectors, sqrt(2/columns) for matrices): here it is an
 * option of a parameter group. Momentum averages the whole update. pytorch_optimizer has an extra_l2
 * besides, which it takes from the decay instead of adding it.
 */
#ifndef OPTDSL_AMOS_H
#define OPTDSL_AMOS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

extern const char amos_compiled[]; /* from what, and how */

/* Hyperparameters. They may change from step to step. */
typedef struct {
  double lr; /* in [0, inf) */
  double scale; /* in (0, inf) */
  double beta; /* in [0, 1) */
  double momentum; /* in [0, 1) */
  double eps; /* in (0, inf) */
} amos_hypers;
#define AMOS_DEFAULTS {0.001, 0.5, 0.999, 0.0, 1e-18}

/* What is kept for a tensor as a whole. */
typedef struct {
  double v;
  double b;
} amos_numbers;

/* What functions return. Unless it is AMOS_OK, nothing has been written. */
enum {
  AMOS_OK = 0,
  AMOS_BAD_STEP = -1, /* t is less than 1 */
  AMOS_NULL_POINTER = -2, /* a pointer is NULL, and its tensor has elements */
  AMOS_NEGATIVE_SIZE = -3,
  AMOS_BAD_LR = -10, /* not in [0, inf) */
  AMOS_BAD_SCALE = -11, /* not in (0, inf) */
  AMOS_BAD_BETA = -12, /* not in [0, 1) */
  AMOS_BAD_MOMENTUM = -13, /* not in [0, 1) */
  AMOS_BAD_EPS = -14, /* not in (0, inf) */
};

/* Tensors are arrays of pointers to `tensors` stretches of memory, of `sizes[i]` elements each,
 * which do not overlap; they need no alignment but that of their type. Functions may run at the
 * same time on other tensors: they allocate nothing and keep nothing. */

/* What states are before the first step. */
int amos_init_f32(
    const amos_hypers *hypers,
    int64_t tensors,
    const int64_t *sizes,
    const float *const *theta,
    float *const *u,
    amos_numbers *numbers);
int amos_init_f64(
    const amos_hypers *hypers,
    int64_t tensors,
    const int64_t *sizes,
    const double *const *theta,
    double *const *u,
    amos_numbers *numbers);

/* One step: theta, the parameters, and the states are changed; g, the gradients, are only read.
 * `t` is the number of the step, from 1. To maximize, give -g.
 */
int amos_step_f32(
    const amos_hypers *hypers,
    int64_t t,
    int64_t tensors,
    const int64_t *sizes,
    float *const *theta,
    const float *const *g,
    float *const *u,
    amos_numbers *numbers);
int amos_step_f64(
    const amos_hypers *hypers,
    int64_t t,
    int64_t tensors,
    const int64_t *sizes,
    double *const *theta,
    const double *const *g,
    double *const *u,
    amos_numbers *numbers);

#ifdef __cplusplus
}
#endif

#endif /* OPTDSL_AMOS_H */
