/* LAMB, compiled by optdsl for a test
 *
 * You, Li, Reddi, Hseu, Kumar, Bhojanapalli, Song, Demmel, Keutzer & Hsieh, "Large Batch Optimization for
 * Deep Learning: Training BERT in 76 minutes", ICLR 2020, Algorithm 2, with phi(x) = x.
 *
 * optax.lamb is the same, with the ratio 1 where a norm is zero, as here; its eps is 1e-6 and its decay 0,
 * the paper's code has 0.01. Some libraries clip the ratio (timm, pytorch_optimizer), Keras has eps = 1e-7.
 * The ratio makes the length of the step lr*norm(theta) for every tensor. eps > 0 is required: at g = 0 the
 * first step would be 0/0.
 */
#ifndef OPTDSL_LAMB_H
#define OPTDSL_LAMB_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

extern const char lamb_compiled[]; /* from what, and how */

/* Hyperparameters. They may change from step to step. */
typedef struct {
  double lr; /* in [0, inf) */
  double beta1; /* in [0, 1) */
  double beta2; /* in [0, 1) */
  double eps; /* in (0, inf) */
  double weight_decay; /* in [0, inf) */
} lamb_hypers;
#define LAMB_DEFAULTS {0.001, 0.9, 0.999, 1e-06, 0.0}

/* What functions return. Unless it is LAMB_OK, nothing has been written. */
enum {
  LAMB_OK = 0,
  LAMB_BAD_STEP = -1, /* t is less than 1 */
  LAMB_NULL_POINTER = -2, /* a pointer is NULL, and its tensor has elements */
  LAMB_NEGATIVE_SIZE = -3,
  LAMB_BAD_LR = -10, /* not in [0, inf) */
  LAMB_BAD_BETA1 = -11, /* not in [0, 1) */
  LAMB_BAD_BETA2 = -12, /* not in [0, 1) */
  LAMB_BAD_EPS = -13, /* not in (0, inf) */
  LAMB_BAD_WEIGHT_DECAY = -14, /* not in [0, inf) */
};

/* Tensors are arrays of pointers to `tensors` stretches of memory, of `sizes[i]` elements each,
 * which do not overlap; they need no alignment but that of their type. Functions may run at the
 * same time on other tensors: they allocate nothing and keep nothing. */

/* What states are before the first step. */
int lamb_init_f32(
    const lamb_hypers *hypers,
    int64_t tensors,
    const int64_t *sizes,
    const float *const *theta,
    float *const *m,
    float *const *v);
int lamb_init_f64(
    const lamb_hypers *hypers,
    int64_t tensors,
    const int64_t *sizes,
    const double *const *theta,
    double *const *m,
    double *const *v);

/* One step: theta, the parameters, and the states are changed; g, the gradients, are only read.
 * `t` is the number of the step, from 1. To maximize, give -g.
 */
int lamb_step_f32(
    const lamb_hypers *hypers,
    int64_t t,
    int64_t tensors,
    const int64_t *sizes,
    float *const *theta,
    const float *const *g,
    float *const *m,
    float *const *v);
int lamb_step_f64(
    const lamb_hypers *hypers,
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

#endif /* OPTDSL_LAMB_H */
