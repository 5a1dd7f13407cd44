/* Runs the model over every image of the input: load, paint, start, run, stop, report. */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdint.h>

/* 0 when every image ran and no canary was touched, 1 otherwise. */
int32_t harness_main(void);

#endif
