#include "semihosting.h"

enum {
    SYS_OPEN = 0x01,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_SEEK = 0x0A,
    SYS_FLEN = 0x0C,
    SYS_EXIT_EXTENDED = 0x20
};

#define APPLICATION_EXIT 0x20026u

static int32_t call(uint32_t operation, const void *block)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}

int32_t semihosting_open(const char *path, int32_t path_bytes, int32_t mode)
{
    const uint32_t block[3] = {(uint32_t)path, (uint32_t)mode, (uint32_t)path_bytes};
    return call(SYS_OPEN, block);
}

int32_t semihosting_file_bytes(int32_t handle)
{
    const uint32_t block[1] = {(uint32_t)handle};
    return call(SYS_FLEN, block);
}

int32_t semihosting_read(int32_t handle, uint8_t *to, int32_t bytes)
{
    const uint32_t block[3] = {(uint32_t)handle, (uint32_t)to, (uint32_t)bytes};
    return call(SYS_READ, block);
}

int32_t semihosting_seek(int32_t handle, int32_t byte)
{
    const uint32_t block[2] = {(uint32_t)handle, (uint32_t)byte};
    return call(SYS_SEEK, block);
}

int32_t semihosting_write(int32_t handle, const uint8_t *from, int32_t bytes)
{
    const uint32_t block[3] = {(uint32_t)handle, (uint32_t)from, (uint32_t)bytes};
    return call(SYS_WRITE, block);
}

void semihosting_print(const char *text)
{
    (void)call(SYS_WRITE0, text);
}

void semihosting_exit(int32_t code)
{
    const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)code};
    (void)call(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}
