/* What the programs here need of a bounded model checker: CBMC, or ESBMC (-DASSURE_ESBMC). */
#ifndef ASSURE_H
#define ASSURE_H

#include <stdint.h>

int nondet_int(void); /* any value at all */

#ifdef ASSURE_ESBMC
void __ESBMC_assume(_Bool);
void __ESBMC_assert(_Bool, const char *);
#define ASSUME(condition) __ESBMC_assume(condition)
#define ASSERT(condition) __ESBMC_assert(condition, #condition)
#else
void __CPROVER_assume(_Bool);
void __CPROVER_assert(_Bool, const char *);
#define ASSUME(condition) __CPROVER_assume(condition)
#define ASSERT(condition) __CPROVER_assert(condition, #condition)
#endif

static inline int32_t any_between(int32_t low, int32_t high)
{
    const int32_t value = nondet_int();
    ASSUME(value >= low && value <= high);
    return value;
}

#endif
