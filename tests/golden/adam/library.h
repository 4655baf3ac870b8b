/* Adam, compiled by optdsl for a test
 *
 * Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 1.
 *
 * torch and optax follow Algorithm 1; Keras adds eps = 1e-7 before v is corrected (the paper's "epsilon
 * hat"). `amsgrad` is torch's form of Reddi, Kale & Kumar 2018: the maximum is of v as it is, and is then
 * corrected by this step's factor. optax takes the maximum of corrected values, the paper corrects nothing
 * (see amsgrad.opt): g = 10, 1 makes the second step 0.741, 0.526 or 3.148 times lr.
 * The decay is the gradient of an L2 penalty; torch's `decoupled_weight_decay = True` is adamw.opt.
 * This file follows torch. eps > 0 is required (torch also takes 0): at g = 0 the first step would be 0/0.
 */
#ifndef OPTDSL_ADAM_H
#define OPTDSL_ADAM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

extern const char adam_compiled[]; /* from what, and how */

/* Hyperparameters. They may change from step to step. */
typedef struct {
  double lr; /* in [0, inf) */
  double beta1; /* in [0, 1) */
  double beta2; /* in [0, 1) */
  double eps; /* in (0, inf) */
  double weight_decay; /* in [0, inf) */
} adam_hypers;
#define ADAM_DEFAULTS {0.001, 0.9, 0.999, 1e-08, 0.0}

/* What functions return. Unless it is ADAM_OK, nothing has been written. */
enum {
  ADAM_OK = 0,
  ADAM_BAD_STEP = -1, /* t is less than 1 */
  ADAM_NULL_POINTER = -2, /* a pointer is NULL, and its tensor has elements */
  ADAM_NEGATIVE_SIZE = -3,
  ADAM_BAD_LR = -10, /* not in [0, inf) */
  ADAM_BAD_BETA1 = -11, /* not in [0, 1) */
  ADAM_BAD_BETA2 = -12, /* not in [0, 1) */
  ADAM_BAD_EPS = -13, /* not in (0, inf) */
  ADAM_BAD_WEIGHT_DECAY = -14, /* not in [0, inf) */
};

/* Tensors are arrays of pointers to `tensors` stretches of memory, of `sizes[i]` elements each,
 * which do not overlap; they need no alignment but that of their type. Functions may run at the
 * same time on other tensors: they allocate nothing and keep nothing. */

/* What states are before the first step. */
int adam_init_f32(
    const adam_hypers *hypers,
    int64_t tensors,
    const int64_t *sizes,
    const float *const *theta,
    float *const *m,
    float *const *v);
int adam_init_f64(
    const adam_hypers *hypers,
    int64_t tensors,
    const int64_t *sizes,
    const double *const *theta,
    double *const *m,
    double *const *v);

/* One step: theta, the parameters, and the states are changed; g, the gradients, are only read.
 * `t` is the number of the step, from 1. To maximize, give -g.
 */
int adam_step_f32(
    const adam_hypers *hypers,
    int64_t t,
    int64_t tensors,
    const int64_t *sizes,
    float *const *theta,
    const float *const *g,
    float *const *m,
    float *const *v);
int adam_step_f64(
    const adam_hypers *hypers,
    int64_t t,
    int64_t tensors,
    const int64_t *sizes,
    double *const *theta,
    const double *const *g,
    double *const *m,
    double *const *v);

#ifdef __cplusplus
}
#endif

#endif /* OPTDSL_ADAM_H */
