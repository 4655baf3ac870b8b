/* PAdam, compiled by optdsl for a test
 *
 * Chen, Zhou, Tang, Yang, Cao & Gu, "Closing the Generalization Gap of Adaptive Gradient Methods in Training
 * Deep Neural Networks", IJCAI 2020, Algorithm 1.
 *
 * `partial` is the paper's p, from 0 (momentum) to 1/2 (Adam); the paper takes 1/8, the code 1/4. The
 * paper's v is a maximum (AMSGrad) and nothing is corrected; the authors' code and pytorch_optimizer correct
 * m and v as Adam does, and both correct v by sqrt(1 - beta2^t) whatever p is, which is right for p = 1/2
 * only (the claim below): v^p wants (1 - beta2^t)^p, so with p < 1/2 the early steps are too short. This
 * file follows the code.
 */
#ifndef OPTDSL_PADAM_H
#define OPTDSL_PADAM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

extern const char padam_compiled[]; /* from what, and how */

/* Hyperparameters. They may change from step to step. */
typedef struct {
  double lr; /* in [0, inf) */
  double beta1; /* in [0, 1) */
  double beta2; /* in [0, 1) */
  double p; /* in (0, 0.5] */
  double weight_decay; /* in [0, inf) */
  double eps; /* in (0, inf) */
} padam_hypers;
#define PADAM_DEFAULTS {0.1, 0.9, 0.999, 0.25, 0.0, 1e-08}

/* What functions return. Unless it is PADAM_OK, nothing has been written. */
enum {
  PADAM_OK = 0,
  PADAM_BAD_STEP = -1, /* t is less than 1 */
  PADAM_NULL_POINTER = -2, /* a pointer is NULL, and its tensor has elements */
  PADAM_NEGATIVE_SIZE = -3,
  PADAM_BAD_LR = -10, /* not in [0, inf) */
  PADAM_BAD_BETA1 = -11, /* not in [0, 1) */
  PADAM_BAD_BETA2 = -12, /* not in [0, 1) */
  PADAM_BAD_P = -13, /* not in (0, 0.5] */
  PADAM_BAD_WEIGHT_DECAY = -14, /* not in [0, inf) */
  PADAM_BAD_EPS = -15, /* not in (0, inf) */
};

/* Tensors are arrays of pointers to `tensors` stretches of memory, of `sizes[i]` elements each,
 * which do not overlap; they need no alignment but that of their type. Functions may run at the
 * same time on other tensors: they allocate nothing and keep nothing. */

/* What states are before the first step. */
int padam_init_f32(
    const padam_hypers *hypers,
    int64_t tensors,
    const int64_t *sizes,
    const float *const *theta,
    float *const *m,
    float *const *v);
int padam_init_f64(
    const padam_hypers *hypers,
    int64_t tensors,
    const int64_t *sizes,
    const double *const *theta,
    double *const *m,
    double *const *v);

/* One step: theta, the parameters, and the states are changed; g, the gradients, are only read.
 * `t` is the number of the step, from 1. To maximize, give -g.
 */
int padam_step_f32(
    const padam_hypers *hypers,
    int64_t t,
    int64_t tensors,
    const int64_t *sizes,
    float *const *theta,
    const float *const *g,
    float *const *m,
    float *const *v);
int padam_step_f64(
    const padam_hypers *hypers,
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

#endif /* OPTDSL_PADAM_H */
