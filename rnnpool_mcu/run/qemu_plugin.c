/* A QEMU TCG plugin that counts what a Cortex-M program executes, for a cycle estimate.

   Per translated block and context (which layer's code, or what it called, is running): executions, branches
   taken at its end, wait states of instruction fetches and of data read from flash, extra bus accesses of
   unaligned data. Per instruction: accesses off their natural (at most word) alignment.

   The configuration file holds, one per line:
     flash BASE BYTES WAIT_STATES LINE_BYTES INSTRUCTION_LINES DATA_LINES PREFETCH
     range START END CONTEXT      a block whose last instruction lies in [START, END) switches to CONTEXT
   Context 0 is everything outside the model; it is what the program starts in.

   Only functions whose prototypes are the same in API versions 1 (QEMU 5 to 8) and above are used; they are
   declared here, so that no header of QEMU's or GLib's is needed. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PLUGIN_API_VERSION
#define PLUGIN_API_VERSION 1
#endif

typedef uint64_t plugin_id;
typedef uint32_t memory_info;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*tb_callback)(plugin_id id, struct qemu_plugin_tb *tb);
typedef void (*exec_callback)(unsigned int cpu, void *data);
typedef void (*memory_callback)(unsigned int cpu, memory_info info, uint64_t address, void *data);
typedef void (*exit_callback)(plugin_id id, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, tb_callback callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, exec_callback callback, int flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, memory_callback callback, int flags, int rw,
                                      void *data);
void qemu_plugin_register_atexit_cb(plugin_id id, exit_callback callback, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
unsigned int qemu_plugin_mem_size_shift(memory_info info);
bool qemu_plugin_mem_is_store(memory_info info);

#define EXPORT __attribute__((visibility("default")))
#define NO_REGISTERS 0
#define READ_AND_WRITE 3
#define MAX_RANGES 4096
#define MAX_SLOTS 4096
#define BUCKETS 4096

typedef struct {
    uint64_t executions, taken, fetch_stalls, data_stalls, extra_accesses;
} counts;

typedef struct block {
    uint64_t start, end; /* end: the address after its last instruction */
    size_t instructions;
    int context; /* it switches to; -1: it stays in its caller's */
    uint64_t first_line;
    size_t lines;
    uint16_t *starts; /* instructions that start in each of its flash lines */
    struct block *next;
    counts in[]; /* per context */
} block;

typedef struct access {
    uint64_t address, unaligned;
    struct access *next;
} access;

/* A fully associative cache of flash lines that replaces the least recently used. */
typedef struct {
    int slots;
    uint64_t line[MAX_SLOTS];
    uint64_t *last_use; /* per flash line; 0: not held */
    uint64_t clock;
} cache;

static struct { uint64_t start, end; int context; } ranges[MAX_RANGES];
static int range_count, contexts = 1;
static uint64_t flash_base, flash_bytes, line_bytes = 16;
static unsigned wait_states;
static int prefetch;
static cache instruction_cache, data_cache;

static block *buckets[BUCKETS];
static access *accesses[BUCKETS];
static block *running;
static counts *cell;
static int context;
static uint64_t fetched_line = UINT64_MAX, read_line = UINT64_MAX;
static unsigned starts_in_line; /* instructions since the fetched line was entered */
static char counts_path[4096];

EXPORT int qemu_plugin_version = PLUGIN_API_VERSION;

static bool cache_holds(cache *c, uint64_t line)
{
    if (c->last_use[line] == 0) {
        return false;
    }
    c->last_use[line] = ++c->clock;
    return true;
}

static void cache_insert(cache *c, uint64_t line)
{
    if (c->slots == 0) {
        return;
    }
    int oldest = 0;
    for (int i = 0; i < c->slots && c->line[oldest] != UINT64_MAX; i++) {
        if (c->line[i] == UINT64_MAX || c->last_use[c->line[i]] < c->last_use[c->line[oldest]]) {
            oldest = i;
        }
    }
    if (c->line[oldest] != UINT64_MAX) {
        c->last_use[c->line[oldest]] = 0;
    }
    c->line[oldest] = line;
    c->last_use[line] = ++c->clock;
}

static bool in_flash(uint64_t address)
{
    return address - flash_base < flash_bytes;
}

/* A line that is neither held nor prefetched in time makes the core wait, and is held from then on. A
   prefetch of the next line starts when a line is entered and takes as long as any read. */
static void fetch(const block *b)
{
    for (size_t i = 0; i < b->lines; i++) {
        const uint64_t line = b->first_line + i;
        if (line == fetched_line) {
            starts_in_line += b->starts[i];
            continue;
        }
        if (!cache_holds(&instruction_cache, line)) {
            unsigned stall = wait_states;
            if (prefetch && line == fetched_line + 1) {
                stall = starts_in_line < wait_states ? wait_states - starts_in_line : 0;
            }
            if (stall > 0) {
                cell->fetch_stalls += stall;
                cache_insert(&instruction_cache, line);
            }
        }
        fetched_line = line;
        starts_in_line = b->starts[i];
    }
}

static void on_block(unsigned int cpu, void *data)
{
    block *b = data;
    (void)cpu;
    if (running != NULL && running->end != b->start) {
        cell->taken++;
    }
    running = b;
    if (b->context >= 0) {
        context = b->context;
    }
    cell = &b->in[context];
    cell->executions++;
    if (wait_states > 0) {
        fetch(b);
    }
}

static void on_memory(unsigned int cpu, memory_info info, uint64_t address, void *data)
{
    const unsigned shift = qemu_plugin_mem_size_shift(info);
    const uint64_t offset = address & ((1u << (shift < 2 ? shift : 2)) - 1u);
    (void)cpu;
    if (offset != 0) {
        ((access *)data)->unaligned++;
        cell->extra_accesses += shift >= 2 && (offset & 1u) != 0 ? 2 : 1; /* byte, halfword, byte */
    }
    if (wait_states > 0 && !qemu_plugin_mem_is_store(info) && in_flash(address)) {
        const uint64_t line = (address - flash_base) / line_bytes;
        if (line != read_line && !cache_holds(&data_cache, line)) {
            cell->data_stalls += wait_states;
            cache_insert(&data_cache, line);
        }
        read_line = line;
    }
}

static int context_at(uint64_t address)
{
    for (int i = 0; i < range_count; i++) {
        if (address >= ranges[i].start && address < ranges[i].end) {
            return ranges[i].context;
        }
    }
    return -1;
}

static access *access_at(uint64_t address)
{
    access **bucket = &accesses[address / 2 % BUCKETS];
    for (access *a = *bucket; a != NULL; a = a->next) {
        if (a->address == address) {
            return a;
        }
    }
    access *made = calloc(1, sizeof *made);
    made->address = address;
    made->next = *bucket;
    return *bucket = made;
}

static void place_in_flash(block *b, struct qemu_plugin_tb *tb)
{
    if (!in_flash(b->start) || !in_flash(b->end - 1)) {
        return;
    }
    b->first_line = (b->start - flash_base) / line_bytes;
    b->lines = (size_t)((b->end - 1 - flash_base) / line_bytes - b->first_line + 1);
    b->starts = calloc(b->lines, sizeof *b->starts);
    for (size_t i = 0; i < b->instructions; i++) {
        const uint64_t address = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, i));
        b->starts[(address - flash_base) / line_bytes - b->first_line]++;
    }
}

/* A block may be translated anew, or cut shorter at the end of a time slice: each length counts for itself. */
static block *block_of(struct qemu_plugin_tb *tb)
{
    const size_t instructions = qemu_plugin_tb_n_insns(tb);
    const struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, instructions - 1);
    const uint64_t start = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
    block **bucket = &buckets[start / 2 % BUCKETS];
    for (block *b = *bucket; b != NULL; b = b->next) {
        if (b->start == start && b->instructions == instructions) {
            return b;
        }
    }
    block *made = calloc(1, sizeof *made + (size_t)contexts * sizeof(counts));
    made->start = start;
    made->end = qemu_plugin_insn_vaddr(last) + qemu_plugin_insn_size(last);
    made->instructions = instructions;
    made->context = context_at(qemu_plugin_insn_vaddr(last));
    made->next = *bucket;
    place_in_flash(made, tb);
    return *bucket = made;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, NO_REGISTERS, block_of(tb));
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        access *where = access_at(qemu_plugin_insn_vaddr(insn));
        qemu_plugin_register_vcpu_mem_cb(insn, on_memory, NO_REGISTERS, READ_AND_WRITE, where);
    }
}

static void on_exit(plugin_id id, void *data)
{
    FILE *file = fopen(counts_path, "w");
    (void)id;
    (void)data;
    if (file == NULL) {
        return;
    }
    for (int i = 0; i < BUCKETS; i++) {
        for (const block *b = buckets[i]; b != NULL; b = b->next) {
            for (int c = 0; c < contexts; c++) {
                const counts *n = &b->in[c];
                if (n->executions != 0) {
                    fprintf(file, "block %" PRIu64 " %zu %d %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
                            b->start, b->instructions, c, n->executions, n->taken, n->fetch_stalls, n->data_stalls,
                            n->extra_accesses);
                }
            }
        }
        for (const access *a = accesses[i]; a != NULL; a = a->next) {
            if (a->unaligned != 0) {
                fprintf(file, "unaligned %" PRIu64 " %" PRIu64 "\n", a->address, a->unaligned);
            }
        }
    }
    fprintf(file, "end\n");
    fclose(file);
}

static void cache_init(cache *c, int slots)
{
    c->slots = slots < MAX_SLOTS ? slots : MAX_SLOTS;
    c->last_use = calloc(flash_bytes / line_bytes + 2, sizeof *c->last_use);
    for (int i = 0; i < MAX_SLOTS; i++) {
        c->line[i] = UINT64_MAX;
    }
}

static bool read_config(const char *path)
{
    char text[256];
    int instruction_lines = 0, data_lines = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }
    while (fgets(text, sizeof text, file) != NULL) {
        if (range_count < MAX_RANGES
            && sscanf(text, "range %" SCNu64 " %" SCNu64 " %d", &ranges[range_count].start, &ranges[range_count].end,
                      &ranges[range_count].context) == 3) {
            const int found = ranges[range_count++].context;
            contexts = found >= contexts ? found + 1 : contexts;
            continue;
        }
        if (sscanf(text, "flash %" SCNu64 " %" SCNu64 " %u %" SCNu64 " %d %d %d", &flash_base, &flash_bytes,
                   &wait_states, &line_bytes, &instruction_lines, &data_lines, &prefetch) != 7) {
            fclose(file);
            return false;
        }
    }
    fclose(file);
    cache_init(&instruction_cache, instruction_lines);
    cache_init(&data_cache, data_lines);
    return true;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    const char *config = NULL;
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "config=", 7) == 0) {
            config = argv[i] + 7;
        } else if (strncmp(argv[i], "counts=", 7) == 0) {
            snprintf(counts_path, sizeof counts_path, "%s", argv[i] + 7);
        }
    }
    if (config == NULL || !read_config(config)) {
        fprintf(stderr, "profile plugin: configuration missing or not understood\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit, NULL);
    return 0;
}
