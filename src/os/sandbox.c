/* The worker's sandbox. Each step reports what it could not do and goes on; the one thing that ends
 * it is a drop of root that can be undone. The system call tables are at the top.
 * Sources: capabilities(7), landlock(7), seccomp(2), https://docs.kernel.org/userspace-api/ */
#include "os/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <seccomp.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0
#endif

struct sandbox {
    const struct sandbox_options *options;
    sandbox_report_fn *report;
    void *arg;
};

static void missing(const struct sandbox *s, const char *what, int error)
{
    s->report(s->arg, what, error);
}

/* ---- identity and capabilities ---- */

static void bounding_drop(const struct sandbox *s)
{
    for (unsigned long c = 0; c <= CAP_LAST_CAP || prctl(PR_CAPBSET_READ, c) >= 0; c++) {
        if (prctl(PR_CAPBSET_READ, c) == 1 && prctl(PR_CAPBSET_DROP, c) < 0) {
            /* Without CAP_SETPCAP it stays, and means nothing under no_new_privs. */
            if (errno != EPERM || geteuid() == 0) {
                missing(s, "empty capability bounding set", errno);
            }
            return;
        }
    }
}

static void root_drop(const struct sandbox *s)
{
    uid_t uid = s->options->uid;
    gid_t gid = s->options->gid;
    if (geteuid() != 0) {
        return;
    }
    if (setgroups(0, NULL) < 0) {
        missing(s, "no supplementary groups", errno);
    }
    if (setresgid(gid, gid, gid) < 0) {
        missing(s, "unprivileged group", errno);
    }
    if (setresuid(uid, uid, uid) < 0) {
        missing(s, "unprivileged user", errno);
    }
}

static void capabilities_drop(const struct sandbox *s)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) {
        missing(s, "empty ambient capabilities", errno);
    }
    if (syscall(SYS_capset, &header, none) < 0) {
        missing(s, "no capabilities", errno);
    }
}

/* A drop that can be undone is worse than none, since everybody relies on it. */
static bool is_root_within_reach(const struct sandbox *s)
{
    return s->options->uid != 0 && geteuid() != 0 && setresuid(0, 0, 0) == 0;
}

/* ---- Landlock ---- */

/* As in linux/landlock.h of Linux 6.12, which build machines may not have yet; an older kernel is
 * given the shorter struct it knows. */
struct landlock_rules {
    uint64_t files;  /* ABI 1 */
    uint64_t net;    /* ABI 4 */
    uint64_t scoped; /* ABI 6 */
};

struct landlock_below {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));

enum {
    LANDLOCK_VERSION = 1 << 0, /* landlock_create_ruleset(NULL, 0, ...): tells the ABI */
    LANDLOCK_BELOW = 1,
    LANDLOCK_READ_FILE = 1 << 2,
    LANDLOCK_READ_DIR = 1 << 3,
    LANDLOCK_BIND_TCP = 1 << 0,
    LANDLOCK_SCOPE_ABSTRACT_SOCKET = 1 << 0,
    LANDLOCK_SCOPE_SIGNAL = 1 << 1,
};

/* Kinds of file access that each ABI can refuse, by number of bits. */
static const struct {
    long abi;
    unsigned file_bits;
    size_t bytes;
} landlock_abis[] = {
    {1, 13, 8 },
    {2, 14, 8 }, /* + refer */
    {3, 15, 8 }, /* + truncate */
    {4, 15, 16}, /* + TCP */
    {5, 16, 16}, /* + ioctl on devices */
    {6, 16, 24}, /* + scopes */
};

/* Only for the sanitizer's leak check, which reads /proc/self/maps. */
static void landlock_allow_proc(int ruleset)
{
    struct landlock_below below = {.allowed = LANDLOCK_READ_FILE | LANDLOCK_READ_DIR};
    below.parent_fd = open("/proc", O_PATH | O_CLOEXEC);
    if (below.parent_fd >= 0) {
        (void)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_BELOW, &below, 0); /* a test build */
        (void)close(below.parent_fd);
    }
}

static int landlock_ruleset(long abi)
{
    struct landlock_rules rules = {0};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof(landlock_abis) / sizeof(landlock_abis[0]); i++) {
        if (landlock_abis[i].abi <= abi) {
            rules.files = ((uint64_t)1 << landlock_abis[i].file_bits) - 1;
            bytes = landlock_abis[i].bytes;
        }
    }
    rules.net = abi >= 4 ? LANDLOCK_BIND_TCP : 0;
    rules.scoped = abi >= 6 ? LANDLOCK_SCOPE_ABSTRACT_SOCKET | LANDLOCK_SCOPE_SIGNAL : 0;
    return (int)syscall(SYS_landlock_create_ruleset, &rules, bytes, 0);
}

static void landlock_enter(const struct sandbox *s)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);
    int ruleset = abi < 1 ? -1 : landlock_ruleset(abi);
    if (ruleset < 0) {
        missing(s, "Landlock", errno);
        return;
    }
    if (HAS_SANITIZER) {
        landlock_allow_proc(ruleset);
    }
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0) {
        missing(s, "Landlock", errno);
    }
    (void)close(ruleset); /* the kernel keeps what it needs */
}

/* ---- seccomp ---- */

#define CALL(name)        SCMP_SYS(name)
#define ARG_IS(n, v)      SCMP_A##n(SCMP_CMP_EQ, (scmp_datum_t)(v), 0)
#define ARG_MASK(n, m, v) SCMP_A##n(SCMP_CMP_MASKED_EQ, (scmp_datum_t)(m), (scmp_datum_t)(v))

/* Whatever the arguments. First the ones of every request: the kernel keeps a bitmap of calls that
 * are always allowed and does not run the filter for them. */
static const int calls_allowed[] = {
    CALL(recvfrom),
    CALL(sendto),
    CALL(sendmsg),
    CALL(recvmsg),
    CALL(read),
    CALL(write),
    CALL(writev),
    CALL(readv),
    CALL(epoll_wait),
    CALL(epoll_pwait),
    CALL(epoll_pwait2),
    CALL(epoll_ctl),
    CALL(epoll_create1),
    CALL(accept4),
    CALL(connect),
    CALL(close),
    CALL(shutdown),
    CALL(splice),
    CALL(pipe2),
    CALL(eventfd2),
    CALL(signalfd4),
    CALL(pread64),
    CALL(poll),
    CALL(ppoll),
    CALL(lseek),
    CALL(fstat),
    CALL(getsockname),
    CALL(getpeername),
    CALL(munmap),
    CALL(mremap),
    CALL(madvise),
    CALL(mlock), /* private keys */
    CALL(munlock),
    CALL(brk),
    CALL(futex),
    CALL(clock_gettime),
    CALL(clock_getres),
    CALL(clock_nanosleep),
    CALL(nanosleep),
    CALL(gettimeofday),
    CALL(time),
    CALL(getrandom),
    CALL(getpid),
    CALL(gettid),
    CALL(getuid),
    CALL(geteuid),
    CALL(getgid),
    CALL(getegid),
    CALL(getrusage),
    CALL(sysinfo),
    CALL(uname),
    CALL(getcpu),
    CALL(sched_yield),
    CALL(sched_getaffinity),
    CALL(restart_syscall),
    CALL(rt_sigaction),
    CALL(rt_sigprocmask),
    CALL(rt_sigreturn),
    CALL(sigaltstack),
    CALL(set_robust_list),
    CALL(rseq),
    CALL(membarrier),
    CALL(exit),
    CALL(exit_group),
};

/* Only for the sanitizer's leak check: it stops its own process from a clone and reads its maps. */
static const int calls_sanitizer[] = {
    CALL(open),
    CALL(openat),
    CALL(readlink),
    CALL(readlinkat),
    CALL(stat),
    CALL(newfstatat),
    CALL(getdents),
    CALL(getdents64),
    CALL(clone),
    CALL(wait4),
    CALL(ptrace),
    CALL(prctl),
    CALL(arch_prctl),
    CALL(ioctl),
    CALL(tgkill),
    CALL(kill),
    CALL(getppid),
    CALL(dup),
    CALL(process_vm_readv),
    CALL(access),
    CALL(sched_getparam),
    CALL(sched_getscheduler),
    CALL(personality),
    CALL(pipe),
    CALL(prlimit64),
    CALL(getrlimit),
};

/* Libraries try these and cope with a clear no. */
static const int calls_refused[] = {
    CALL(open),      CALL(openat),     CALL(openat2),    CALL(creat),     CALL(access),
    CALL(faccessat), CALL(faccessat2), CALL(stat),       CALL(lstat),     CALL(statx),
    CALL(readlink),  CALL(readlinkat), CALL(unlink),     CALL(unlinkat),  CALL(rename),
    CALL(renameat),  CALL(renameat2),  CALL(mkdir),      CALL(mkdirat),   CALL(chdir),
    CALL(bind),      CALL(listen),     CALL(socketpair), CALL(kill),      CALL(memfd_create),
    CALL(setuid),    CALL(setgid),     CALL(setresuid),  CALL(setresgid), CALL(setgroups),
    CALL(capset),
};

/* No code of ours and no library of ours calls these: whoever does has taken the process over. */
static const int calls_fatal[] = {
    CALL(execve),
    CALL(execveat),
    CALL(ptrace),
    CALL(process_vm_readv),
    CALL(process_vm_writev),
    CALL(bpf),
    CALL(mount),
    CALL(umount2),
    CALL(pivot_root),
    CALL(chroot),
    CALL(unshare),
    CALL(setns),
    CALL(init_module),
    CALL(finit_module),
    CALL(delete_module),
    CALL(kexec_load),
    CALL(open_by_handle_at),
    CALL(userfaultfd),
    CALL(perf_event_open),
    CALL(keyctl),
    CALL(add_key),
    CALL(request_key),
    CALL(reboot),
    CALL(swapon),
};

static const int fcntl_commands[] = {F_GETFL,         F_SETFL,     F_GETFD,      F_SETFD,
                                     F_DUPFD_CLOEXEC, F_GET_SEALS, F_GETPIPE_SZ, F_SETPIPE_SZ};
static const int socket_options[] = {SO_LINGER, SO_KEEPALIVE, SO_RCVBUF,  SO_SNDBUF,
                                     SO_ERROR,  SO_BUSY_POLL, SO_RCVLOWAT};
static const int tcp_options[] = {
    TCP_NODELAY, TCP_CORK,         TCP_KEEPIDLE,        TCP_KEEPINTVL,
    TCP_KEEPCNT, TCP_USER_TIMEOUT, TCP_QUICKACK,        TCP_NOTSENT_LOWAT,
    TCP_LINGER2, TCP_SYNCNT,       TCP_FASTOPEN_CONNECT};

#define N(table) (sizeof(table) / sizeof((table)[0]))

static bool is_sanitizer_call(int call)
{
    bool is_listed = false;
    for (size_t i = 0; i < N(calls_sanitizer); i++) {
        is_listed = is_listed || calls_sanitizer[i] == call;
    }
    return HAS_SANITIZER && is_listed;
}

/* 0 or the first failure: a negative errno. What a sanitizer build allows is not taken back. */
static int add_calls(scmp_filter_ctx f, uint32_t action, const int *calls, size_t n)
{
    int first = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_skipped = action != SCMP_ACT_ALLOW && is_sanitizer_call(calls[i]);
        int e = is_skipped ? 0 : seccomp_rule_add(f, action, calls[i], 0);
        /* EDOM: this architecture has no such call */
        first = first == 0 && e != -EDOM ? e : first;
    }
    return first;
}

static int add_values(scmp_filter_ctx f, int call, struct scmp_arg_cmp fixed, unsigned arg,
                      const int *values, size_t n)
{
    int first = 0;
    for (size_t i = 0; i < n; i++) {
        struct scmp_arg_cmp both[2] = {SCMP_CMP(arg, SCMP_CMP_EQ, (scmp_datum_t)values[i], 0),
                                       fixed};
        int e = seccomp_rule_add_array(f, SCMP_ACT_ALLOW, call, fixed.op == 0 ? 1 : 2, both);
        first = first == 0 ? e : first;
    }
    return first;
}

/* TCP over IPv4 and IPv6, nothing else. */
static int add_sockets(scmp_filter_ctx f)
{
    const scmp_datum_t type_mask = ~(scmp_datum_t)(SOCK_NONBLOCK | SOCK_CLOEXEC);
    static const int families[] = {AF_INET, AF_INET6};
    static const int protocols[] = {0, IPPROTO_TCP};
    int first = 0;
    for (size_t i = 0; i < N(families) * N(protocols); i++) {
        int e = seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(socket), 3, ARG_IS(0, families[i / 2]),
                                 ARG_MASK(1, type_mask, SOCK_STREAM), ARG_IS(2, protocols[i % 2]));
        first = first == 0 ? e : first;
    }
    return first;
}

static int add_checked(scmp_filter_ctx f)
{
    const struct scmp_arg_cmp always = {0};
    int e[] = {
        add_sockets(f),
        add_values(f, CALL(fcntl), always, 1, fcntl_commands, N(fcntl_commands)),
        add_values(f, CALL(setsockopt), ARG_IS(1, SOL_SOCKET), 2, socket_options,
                   N(socket_options)),
        add_values(f, CALL(setsockopt), ARG_IS(1, IPPROTO_TCP), 2, tcp_options, N(tcp_options)),
        seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(getsockopt), 1, ARG_IS(1, SOL_SOCKET)),
        seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(getsockopt), 1, ARG_IS(1, IPPROTO_TCP)),
        seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(mmap), 1, ARG_MASK(2, PROT_EXEC, 0)),
        seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(mprotect), 1, ARG_MASK(2, PROT_EXEC, 0)),
    };
    int first = 0;
    for (size_t i = 0; i < N(e); i++) {
        first = first == 0 ? e[i] : first;
    }
    return first;
}

/* Checked by their arguments, and in a sanitizer build not at all. */
static int add_own(scmp_filter_ctx f)
{
    int e[] = {
        seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(newfstatat), 1,
                         ARG_MASK(3, AT_EMPTY_PATH, AT_EMPTY_PATH)),               /* fstat() */
        seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(prlimit64), 1, ARG_IS(2, 0)),     /* getrlimit() */
        seccomp_rule_add(f, SCMP_ACT_ALLOW, CALL(tgkill), 1, ARG_IS(0, getpid())), /* abort() */
    };
    int first = 0;
    for (size_t i = 0; i < N(e); i++) {
        first = first == 0 ? e[i] : first;
    }
    return first;
}

static int filter_fill(scmp_filter_ctx f)
{
    int e[] = {
        seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2), /* a binary tree */
        /* No foreign code runs here, so the filter need not switch speculation off, which old
         * kernels do and which costs more than all the rest. */
        seccomp_attr_set(f, SCMP_FLTATR_CTL_SSB, 1),
        seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS),
        add_calls(f, SCMP_ACT_ALLOW, calls_allowed, N(calls_allowed)),
        add_checked(f),
        HAS_SANITIZER ? add_calls(f, SCMP_ACT_ALLOW, calls_sanitizer, N(calls_sanitizer))
                      : add_own(f),
        add_calls(f, SCMP_ACT_ERRNO(EPERM), calls_refused, N(calls_refused)),
        add_calls(f, SCMP_ACT_KILL_PROCESS, calls_fatal, N(calls_fatal)),
        seccomp_load(f),
    };
    int first = 0;
    for (size_t i = 0; i < N(e); i++) {
        first = first == 0 ? e[i] : first;
    }
    return first;
}

static void seccomp_enter(const struct sandbox *s)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    int e = f == NULL ? -ENOMEM : filter_fill(f);
    if (e < 0) {
        missing(s, "seccomp filter", -e);
    }
    if (f != NULL) {
        seccomp_release(f);
    }
}

/* ---- all of it ---- */

enum err sandbox_enter(const struct sandbox_options *o, sandbox_report_fn *report, void *arg)
{
    const struct sandbox s = {o, report, arg};
    bounding_drop(&s);
    root_drop(&s);
    capabilities_drop(&s);
    if (is_root_within_reach(&s)) {
        return E_REFUSED;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        missing(&s, "no_new_privs", errno);
    }
    if (HAS_SANITIZER && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
        missing(&s, "a sanitizer's leak check", errno); /* it attaches to its own process */
    }
    landlock_enter(&s);
    seccomp_enter(&s);
    return E_OK;
}
