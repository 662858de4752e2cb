/* A stub of the CUDA driver, libcuda.so.1, for the real cuda-bindings: no GPU, and no kernel of its own.
 *
 * Memory is the host's. Work is put off until something waits for it, and is done no sooner: what the host reads without
 * a wait is what was there before. Captures are recorded, and each launch does the same work on the same addresses. Each
 * function returns what its page of the CUDA driver API says (docs.nvidia.com/cuda/cuda-driver-api).
 *
 *   STUB_VERSION=12020         the version of CUDA that the driver is for, 12090 by default
 *   STUB_MISSING=cuGraphLaunch,cuStreamCreateWithPriority    functions that it does not have
 *   STUB_DELAY_US=500          how long a wait for work that is not done takes
 *   STUB_TRACE=FILE            lists all calls that matter for order and lifetime; tests/stub_libcuda/trace.py reads it
 *
 * Beside CUDA's functions there are stub_launch(), for engines, stub_mark() and stub_idle().
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_DEVICE = 101, INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400, ILLEGAL_STATE = 401, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700,
    CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, CAPTURE_MERGE = 902, CAPTURE_UNMATCHED = 903,
    CAPTURE_UNJOINED = 904, CAPTURE_ISOLATION = 905, CAPTURED_EVENT = 907,
};
enum { SPIN = 1, YIELD = 2, BLOCK = 4 };                      /* CUctx_flags */
enum { EVENT_BLOCKS = 1, EVENT_WITHOUT_TIME = 2 };            /* CUevent_flags */
enum { LANES = 8, SPANS = 24, LEGACY_STREAMS = 3, LEAST_PRIORITY = 0, GREATEST_PRIORITY = -5 };

typedef int Result;
typedef uint64_t Address;
typedef void (*Kernel)(void);
typedef struct { Address at; uint64_t bytes; } Span;
typedef struct Stream Stream;
typedef struct Event Event;

typedef struct Block { Address at; uint64_t bytes; int pinned; struct Block *next; } Block;

typedef struct Work {
    enum { COPY, FILL, KERNEL, RECORD, WAIT } kind;
    Kernel kernel;
    int value, reads, writes;
    Span spans[SPANS];                                        /* those that are read first */
    Event *event;
    uint64_t version;                                         /* of the event's records */
    Stream *stream;                                           /* that records it */
    struct Work *next;
} Work;

typedef struct Graph { Work *first, *last; unsigned number; } Graph;

typedef struct Capture {
    Graph *graph;
    Stream *lanes[LANES];
    int count, broken, clock[LANES][LANES];                   /* how much of each lane is before the next of each */
    pthread_t thread;
} Capture;

struct Stream { unsigned number; int alive; Graph queue; Capture *capture; };

struct Event {
    unsigned number, flags;
    int alive, clock[LANES];
    uint64_t recorded, reached;                               /* versions; 0 is before the first */
    double ms;
    Stream *stream;                                           /* of the last record */
    Capture *capture;                                         /* where that is in a capture */
};

static pthread_mutex_t lock;                                  /* recursive: a kernel may be Python's */
static int version = 12090, initialized, retained, context_flags, delay_us;
static char context[8];                                       /* the primary one, the only one */
static __thread void *stack[32];
static __thread int depth;
static Block *blocks;
static uint64_t used, largest_copy = UINT64_MAX;
static const uint64_t total = 7987728384;
static unsigned streams, events, graphs;
static Capture *capturing[LANES];
static const char *missing = "";
static FILE *trace;

#define TRACE(...) do { if (trace) fprintf(trace, __VA_ARGS__); } while (0)
#define LOCKED __attribute__((cleanup(leave))) int locked = pthread_mutex_lock(&lock)
#define IN_CONTEXT LOCKED; if (!depth) return INVALID_CONTEXT
#define OF_STREAM IN_CONTEXT; if ((uintptr_t)stream >= LEGACY_STREAMS && !stream->alive) return INVALID_HANDLE
/* "potentially unsafe" calls: cuThreadExchangeStreamCaptureMode */
#define UNSAFE IN_CONTEXT; if (refused_by_capture()) return CAPTURE_UNSUPPORTED

static void leave(int *locked) { (void)locked; pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void begin(void) {
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &recursive);
    const char *text;
    if ((text = getenv("STUB_VERSION"))) version = atoi(text);
    if ((text = getenv("STUB_DELAY_US"))) delay_us = atoi(text);
    if ((text = getenv("STUB_MISSING"))) missing = text;
    if ((text = getenv("STUB_TRACE"))) trace = fopen(text, "w");
}

static double now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static int refused_by_capture(void) {
    int refused = 0;
    for (int i = 0; i < LANES; i++)
        if (capturing[i] && pthread_equal(capturing[i]->thread, pthread_self())) refused = capturing[i]->broken = 1;
    return refused;
}

static int holds(Span span) {
    for (Block *block = blocks; block; block = block->next)
        if (span.at >= block->at && span.at + span.bytes <= block->at + block->bytes) return 1;
    return 0;
}

/* Work: enqueued, captured, done. */

static void append(Graph *graph, const Work *work) {
    Work *copy = malloc(sizeof *copy);
    *copy = *work;
    copy->next = NULL;
    if (graph->last) graph->last->next = copy; else graph->first = copy;
    graph->last = copy;
}

static void forget(Graph *graph) {
    for (Work *work = graph->first, *next; work; work = next) { next = work->next; free(work); }
    graph->first = graph->last = NULL;
}

static void run(Stream *stream, Event *event, uint64_t until) {
    while (stream->queue.first && !(event && event->reached >= until)) {
        Work *work = stream->queue.first;
        stream->queue.first = work->next;
        if (!work->next) stream->queue.last = NULL;
        Span *to = &work->spans[work->reads];
        switch (work->kind) {
        case COPY:
            if (to->bytes <= largest_copy) memcpy((void *)to->at, (void *)work->spans[0].at, to->bytes);
            break;
        case FILL: memset((void *)to->at, work->value, to->bytes); break;
        case KERNEL: if (work->kernel && largest_copy == UINT64_MAX) work->kernel(); break;
        case RECORD:
            work->event->reached = work->version;
            work->event->ms = now_ms();
            break;
        case WAIT: run(work->stream, work->event, work->version); break;
        }
        free(work);
    }
}

static void log_work(Stream *stream, const Work *work) {
    static const char *names[] = {"copy", "fill", "kernel", "record", "wait"};
    if (!trace) return;
    if (work->kind >= RECORD) {
        TRACE("%s %u %u %llu\n", names[work->kind], stream->number, work->event->number, (unsigned long long)work->version);
        return;
    }
    TRACE("%s %u", names[work->kind], stream->number);
    for (int i = 0; i < work->reads + work->writes; i++)
        TRACE(" %c:%llu:%llu", i < work->reads ? 'r' : 'w', (unsigned long long)work->spans[i].at,
              (unsigned long long)work->spans[i].bytes);
    TRACE("\n");
}

static Result enqueue(Stream *stream, Work *work) {
    for (int i = 0; i < work->reads + work->writes; i++)
        if (!holds(work->spans[i])) {
            TRACE("fault stream %u: no memory at %llx\n", stream->number, (unsigned long long)work->spans[i].at);
            return ILLEGAL_ADDRESS;
        }
    Capture *capture = stream->capture;
    if (capture) {
        if (capture->broken) return CAPTURE_INVALIDATED;
        for (int i = 0; i < capture->count; i++) if (capture->lanes[i] == stream) capture->clock[i][i]++;
        append(capture->graph, work);
        return SUCCESS;
    }
    if (work->kind == RECORD) {
        work->version = ++work->event->recorded;
        work->event->stream = stream;
        work->event->capture = NULL;
    }
    log_work(stream, work);
    append(&stream->queue, work);
    return SUCCESS;
}

/* The wait itself: how long, and whether the processor is busy meanwhile. */
static void wait_a_while(int blocks_host) {
    if (!delay_us) return;
    if (blocks_host) {
        struct timespec time = {delay_us / 1000000, delay_us % 1000000 * 1000L};
        nanosleep(&time, NULL);
        return;
    }
    for (double until = now_ms() + delay_us / 1e3; now_ms() < until;) { }
}

/* Devices and contexts. */

Result cuInit(unsigned flags) { initialized = 1; return flags ? INVALID_VALUE : SUCCESS; }
Result cuDriverGetVersion(int *value) { *value = version; return SUCCESS; }
Result cuDeviceGet(int *device, int ordinal) {
    *device = 0;
    return !initialized ? NOT_INITIALIZED : ordinal ? INVALID_DEVICE : SUCCESS;
}
Result cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
Result cuDeviceGetName(char *name, int length, int device) { (void)device; snprintf(name, length, "Orin"); return SUCCESS; }
Result cuDeviceTotalMem(uint64_t *bytes, int device) { (void)device; *bytes = total; return SUCCESS; }
Result cuDeviceTotalMem_v2(uint64_t *bytes, int device) { return cuDeviceTotalMem(bytes, device); }
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    /* compute capability, integrated, multiprocessors */
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? 1 : attribute == 16 ? 8 : 0;
    return SUCCESS;
}
Result cuCtxGetCurrent(void **current) { *current = depth ? stack[depth - 1] : NULL; return SUCCESS; }
Result cuCtxSetCurrent(void *wanted) {
    if (depth) depth--;
    if (wanted) stack[depth++] = wanted;
    return SUCCESS;
}
Result cuCtxPushCurrent(void *wanted) {
    if (!wanted || depth == 32) return INVALID_CONTEXT;
    stack[depth++] = wanted;
    return SUCCESS;
}
Result cuCtxPopCurrent(void **current) {
    if (!depth) return INVALID_CONTEXT;
    *current = stack[--depth];
    return SUCCESS;
}
Result cuCtxPopCurrent_v2(void **current) { return cuCtxPopCurrent(current); }
Result cuCtxGetDevice(int *device) { *device = 0; return depth ? SUCCESS : INVALID_CONTEXT; }
Result cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    IN_CONTEXT;
    *least = LEAST_PRIORITY;
    *greatest = GREATEST_PRIORITY;
    return SUCCESS;
}
Result cuDevicePrimaryCtxRetain(void **made, int device) {
    LOCKED;
    (void)device;
    retained++;
    *made = context;
    TRACE("retain\n");
    return SUCCESS;
}
Result cuDevicePrimaryCtxRelease(int device) {
    LOCKED;
    (void)device;
    if (!retained) return INVALID_CONTEXT;
    retained--;
    TRACE("release\n");
    if (trace) fflush(trace);
    return SUCCESS;
}
Result cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    LOCKED;
    (void)device;
    *flags = context_flags;
    *active = retained > 0;
    return SUCCESS;
}
Result cuDevicePrimaryCtxSetFlags(int device, unsigned flags) {
    LOCKED;
    (void)device;
    context_flags = flags;
    TRACE("context-flags %u\n", flags);
    return SUCCESS;
}

/* Memory. */

Result cuMemGetInfo(uint64_t *free_bytes, uint64_t *all) { IN_CONTEXT; *free_bytes = total - used; *all = total; return SUCCESS; }

static Result allocate(Address *address, uint64_t bytes, int pinned) {
    if (!bytes) return INVALID_VALUE;
    if (bytes > total - used) return OUT_OF_MEMORY;
    void *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED) return OUT_OF_MEMORY;
    Block *block = malloc(sizeof *block);
    *block = (Block){(Address)made, bytes, pinned, blocks};
    blocks = block;
    used += bytes;
    *address = block->at;
    TRACE("allocate %s %llu %llu\n", pinned ? "pinned" : "device", (unsigned long long)block->at, (unsigned long long)bytes);
    return SUCCESS;
}

static Result release(Address address, int pinned) {
    for (Block **each = &blocks; *each; each = &(*each)->next)
        if ((*each)->at == address && (*each)->pinned == pinned) {
            Block *gone = *each;
            *each = gone->next;
            used -= gone->bytes;
            TRACE("free %llu\n", (unsigned long long)address);
            munmap((void *)gone->at, gone->bytes);
            free(gone);
            return SUCCESS;
        }
    return INVALID_VALUE;
}

Result cuMemAlloc(Address *address, uint64_t bytes) { UNSAFE; return allocate(address, bytes, 0); }
Result cuMemFree(Address address) { UNSAFE; return release(address, 0); }
Result cuMemHostAlloc(Address *address, uint64_t bytes, unsigned flags) {
    UNSAFE;
    return flags & ~3u ? INVALID_VALUE : allocate(address, bytes, 1);
}
Result cuMemFreeHost(Address address) { UNSAFE; return release(address, 1); }
Result cuMemHostGetDevicePointer(Address *address, Address host, unsigned flags) {
    IN_CONTEXT;
    *address = host;
    return flags || !holds((Span){host, 1}) ? INVALID_VALUE : SUCCESS;
}
Result cuPointerGetAttribute(int *ordinal, int attribute, Address address) {
    IN_CONTEXT;
    if (attribute != 9 || !holds((Span){address, 1})) return INVALID_VALUE;
    *ordinal = 0;
    return SUCCESS;
}

static Result copy(Address to, Address from, uint64_t bytes, Stream *stream) {
    OF_STREAM;
    Work work = {.kind = COPY, .reads = 1, .writes = 1, .spans = {{from, bytes}, {to, bytes}}};
    return enqueue(stream, &work);
}
Result cuMemcpyHtoDAsync(Address to, Address from, uint64_t bytes, Stream *stream) { return copy(to, from, bytes, stream); }
Result cuMemcpyDtoHAsync(Address to, Address from, uint64_t bytes, Stream *stream) { return copy(to, from, bytes, stream); }
Result cuMemcpyDtoDAsync(Address to, Address from, uint64_t bytes, Stream *stream) { return copy(to, from, bytes, stream); }
Result cuMemsetD8Async(Address to, unsigned char value, uint64_t bytes, Stream *stream) {
    OF_STREAM;
    Work work = {.kind = FILL, .writes = 1, .value = value, .spans = {{to, bytes}}};
    return enqueue(stream, &work);
}

/* Enqueue an engine's run: `kernel` is called when it is done, each time that a graph does it again. */
Result stub_launch(Stream *stream, Kernel kernel, int reads, int writes, const Span *spans) {
    OF_STREAM;
    Work work = {.kind = KERNEL, .kernel = kernel, .reads = reads, .writes = writes};
    if (reads + writes > SPANS) return INVALID_VALUE;
    memcpy(work.spans, spans, (reads + writes) * sizeof *spans);
    return enqueue(stream, &work);
}

/* Write a line into the trace. */
void stub_mark(const char *text) { LOCKED; TRACE("mark %s\n", text); }

/* From now on no kernel is called and no copy of more bytes made: a GPU does that at no cost to the host. */
void stub_idle(uint64_t bytes) { largest_copy = bytes; }

/* Streams and events. */

Result cuStreamCreateWithPriority(Stream **stream, unsigned flags, int priority) {
    IN_CONTEXT;
    if (flags != 1) return INVALID_VALUE;                     /* it would wait for the legacy default stream */
    *stream = calloc(1, sizeof **stream);
    **stream = (Stream){.number = ++streams, .alive = 1};
    TRACE("stream %u %d\n", streams, priority);
    return SUCCESS;
}
Result cuStreamCreate(Stream **stream, unsigned flags) { return cuStreamCreateWithPriority(stream, flags, LEAST_PRIORITY); }
Result cuStreamDestroy(Stream *stream) {                      /* its work is still done; the object stays for that */
    OF_STREAM;
    if (stream->capture) { stream->capture->broken = 1; return CAPTURE_UNSUPPORTED; }
    TRACE("close-stream %u\n", stream->number);
    stream->alive = 0;
    return SUCCESS;
}
Result cuStreamSynchronize(Stream *stream) {
    OF_STREAM;
    if ((uintptr_t)stream < LEGACY_STREAMS) return SUCCESS;
    if (stream->capture) { stream->capture->broken = 1; return CAPTURE_UNSUPPORTED; }
    if (stream->queue.first) wait_a_while(context_flags & BLOCK);
    run(stream, NULL, 0);
    TRACE("synchronize-stream %u\n", stream->number);
    return SUCCESS;
}
Result cuStreamWaitEvent(Stream *stream, Event *event, unsigned flags) {
    OF_STREAM;
    if (flags) return INVALID_VALUE;
    if (!event->alive) return INVALID_HANDLE;
    Capture *capture = event->capture;
    if (!capture) {
        if (stream->capture) { stream->capture->broken = 1; return CAPTURE_ISOLATION; }
        if (!event->recorded) return SUCCESS;
        Work work = {.kind = WAIT, .event = event, .version = event->recorded, .stream = event->stream};
        return enqueue(stream, &work);
    }
    if (stream->capture && stream->capture != capture) { stream->capture->broken = capture->broken = 1; return CAPTURE_MERGE; }
    if (capture->broken) return CAPTURE_INVALIDATED;
    int lane = 0;
    while (lane < capture->count && capture->lanes[lane] != stream) lane++;
    if (lane == LANES) return INVALID_VALUE;
    if (lane == capture->count) { capture->lanes[capture->count++] = stream; stream->capture = capture; }
    for (int i = 0; i < LANES; i++)
        if (capture->clock[lane][i] < event->clock[i]) capture->clock[lane][i] = event->clock[i];
    return SUCCESS;
}
Result cuEventCreate(Event **event, unsigned flags) {
    IN_CONTEXT;
    *event = calloc(1, sizeof **event);
    **event = (Event){.number = ++events, .flags = flags, .alive = 1};
    TRACE("event %u %u\n", events, flags);
    return flags & ~3u ? INVALID_VALUE : SUCCESS;
}
Result cuEventDestroy(Event *event) {
    IN_CONTEXT;
    if (!event->alive) return INVALID_HANDLE;
    event->alive = 0;
    TRACE("close-event %u\n", event->number);
    return SUCCESS;
}
Result cuEventRecordWithFlags(Event *event, Stream *stream, unsigned flags) {
    OF_STREAM;
    if (!event->alive) return INVALID_HANDLE;
    if ((uintptr_t)stream < LEGACY_STREAMS) { event->recorded = event->reached = 0; event->capture = NULL; return SUCCESS; }
    Capture *capture = stream->capture;
    if (flags && !capture) return INVALID_VALUE;
    if (capture && capture->broken) return CAPTURE_INVALIDATED;
    if (capture && !flags) {
        int lane = 0;
        while (capture->lanes[lane] != stream) lane++;
        event->capture = capture;
        memcpy(event->clock, capture->clock[lane], sizeof event->clock);
        return SUCCESS;
    }
    Work work = {.kind = RECORD, .event = event};
    return enqueue(stream, &work);
}
Result cuEventRecord(Event *event, Stream *stream) { return cuEventRecordWithFlags(event, stream, 0); }
Result cuEventSynchronize(Event *event) {
    IN_CONTEXT;
    if (!event->alive) return INVALID_HANDLE;
    if (event->capture) { event->capture->broken = 1; return CAPTURED_EVENT; }
    if (event->reached < event->recorded) {
        wait_a_while((event->flags & EVENT_BLOCKS) || (context_flags & BLOCK));
        run(event->stream, event, event->recorded);
    }
    TRACE("synchronize-event %u %llu\n", event->number, (unsigned long long)event->recorded);
    return SUCCESS;
}
Result cuEventQuery(Event *event) {
    IN_CONTEXT;
    if (event->capture) { event->capture->broken = 1; return CAPTURED_EVENT; }
    if (event->reached < event->recorded) { run(event->stream, event, event->recorded); return NOT_READY; }
    TRACE("synchronize-event %u %llu\n", event->number, (unsigned long long)event->recorded);
    return SUCCESS;
}
Result cuEventElapsedTime(float *ms, Event *start, Event *end) {
    IN_CONTEXT;
    if ((start->flags | end->flags) & EVENT_WITHOUT_TIME) return INVALID_HANDLE;
    *ms = (float)(end->ms - start->ms + 1e-3);
    return SUCCESS;
}

/* Captures and graphs. */

Result cuStreamBeginCapture(Stream *stream, int mode) {
    OF_STREAM;
    if (mode != 1) return INVALID_VALUE;                      /* thread-local: nanoseg wants no other */
    if (stream->capture) return ILLEGAL_STATE;
    int slot = 0;
    while (slot < LANES && capturing[slot]) slot++;
    if (slot == LANES) return INVALID_VALUE;
    Capture *capture = capturing[slot] = calloc(1, sizeof *capture);
    capture->graph = calloc(1, sizeof *capture->graph);
    capture->thread = pthread_self();
    capture->lanes[capture->count++] = stream;
    stream->capture = capture;
    return SUCCESS;
}
Result cuStreamEndCapture(Stream *stream, Graph **graph) {    /* the capture itself stays, for events that name it */
    OF_STREAM;
    Capture *capture = stream->capture;
    *graph = NULL;
    if (!capture) return ILLEGAL_STATE;
    if (capture->lanes[0] != stream) { capture->broken = 1; return CAPTURE_UNMATCHED; }
    int joined = 1;
    for (int i = 0; i < capture->count; i++) {
        capture->lanes[i]->capture = NULL;
        joined &= capture->clock[0][i] >= capture->clock[i][i];
    }
    for (int i = 0; i < LANES; i++) if (capturing[i] == capture) capturing[i] = NULL;
    if (capture->broken || !joined) {
        forget(capture->graph);
        return capture->broken ? CAPTURE_INVALIDATED : CAPTURE_UNJOINED;
    }
    *graph = capture->graph;
    return SUCCESS;
}
Result cuGraphInstantiateWithFlags(Graph **made, Graph *graph, uint64_t flags) {
    IN_CONTEXT;
    if (flags) return INVALID_VALUE;
    *made = calloc(1, sizeof **made);
    for (Work *work = graph->first; work; work = work->next) append(*made, work);
    (*made)->number = ++graphs;
    TRACE("graph %u\n", graphs);
    return SUCCESS;
}
Result cuGraphInstantiate(Graph **made, Graph *graph, uint64_t flags) { return cuGraphInstantiateWithFlags(made, graph, flags); }
Result cuGraphDestroy(Graph *graph) { IN_CONTEXT; forget(graph); free(graph); return SUCCESS; }
Result cuGraphExecDestroy(Graph *graph) {
    IN_CONTEXT;
    TRACE("close-graph %u\n", graph->number);
    forget(graph);
    free(graph);
    return SUCCESS;
}
Result cuGraphLaunch(Graph *graph, Stream *stream) {          /* all in one stream: the order of the capture is a valid one */
    OF_STREAM;
    if (stream->capture) { stream->capture->broken = 1; return CAPTURE_UNSUPPORTED; }
    TRACE("launch %u %u\n", stream->number, graph->number);
    for (Work *work = graph->first; work; work = work->next) {
        Work again = *work;
        Result result = enqueue(stream, &again);
        if (result) return result;
    }
    TRACE("launched\n");
    return SUCCESS;
}

/* How functions are found. */

Result cuGetErrorName(int code, const char **name) { (void)code; *name = "CUDA_ERROR"; return SUCCESS; }

Result cuGetProcAddress_v2(const char *name, void **function, int wanted, uint64_t flags, int *status) {
    (void)wanted, (void)flags;
    static void *self;
    Dl_info info;
    if (!self && dladdr((void *)cuInit, &info)) self = dlopen(info.dli_fname, RTLD_LAZY);
    size_t length = strlen(name);
    *function = NULL;
    int found = 1;
    for (const char *each = missing; (each = strstr(each, name)); each += length)
        if ((each == missing || each[-1] == ',') && (!each[length] || each[length] == ',')) found = 0;
    if (found) *function = dlsym(self, strcmp(name, "cuGetProcAddress") ? name : "cuGetProcAddress_v2");
    if (status) *status = *function ? 0 : 1;                  /* CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND */
    return *function ? SUCCESS : NOT_FOUND;
}
Result cuGetProcAddress(const char *name, void **function, int wanted, uint64_t flags) {
    return cuGetProcAddress_v2(name, function, wanted, flags, NULL);
}
