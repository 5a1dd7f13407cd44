/* Memory protection: only the code, the RAM budget and the peripherals in use can be accessed. */
#ifndef MPU_H
#define MPU_H

/* Closes everything else, from here on; without a protection unit nothing happens. */
void mpu_protect(void);

#endif
