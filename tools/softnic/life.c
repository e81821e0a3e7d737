/* SPDX-License-Identifier: BSD-3-Clause */
/* How the NIC of a process begins and ends: its thread, --step in its place, fork. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "cm.h"
#include "copy.h"
#include "faults.h"
#include "fdtable.h"
#include "held.h"
#include "nic.h"
#include "peer.h"
#include "softnic_step.h"
#include "strict.h"
#include "trace.h"

static const struct sn_wire *const wires[] = {[SN_WIRE_LOCAL] = &sn_wire_local,
					      [SN_WIRE_NULL] = &sn_wire_null,
					      [SN_WIRE_ROCE] = &sn_wire_roce};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	enum { STOPPED, STARTING, RUNNING, FAILED } state;
	int err;
} life = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void
tell(int err)
{
	pthread_mutex_lock(&life.lock);
	life.err = err;
	life.state = err ? FAILED : RUNNING;
	pthread_cond_broadcast(&life.changed);
	pthread_mutex_unlock(&life.lock);
}

static int
join_instance(void)
{
	const char *name = getenv(SN_ENV_INSTANCE);
	const struct sn_settings *settings = sn_settings_own();
	struct sn_fabric fabric;
	int err;

	if (!settings)
		return -ENODEV;
	fabric = settings->fabric;
	err = sn_instance_join(&sn_nic.instance, name ? name : SN_DEFAULT_INSTANCE, &fabric,
			       SN_NIC);
	if (err)
		return err;
	sn_nic.wire = wires[fabric.wire];
	sn_nic.port = &sn_nic.instance.shm->port[sn_nic.instance.slot];
	return 0;
}

/* Waiting for a doorbell must be short, and a transfer must not wait behind a batch job; who may
 * not have a real-time class does without. */
static void
raise_priority(void)
{
	struct sched_param param = {.sched_priority = 1};
	int err = pthread_setschedparam(pthread_self(), SCHED_RR, &param);

	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	SN_LOG("NIC thread: SCHED_RR %s", err ? strerror(err) : "granted");
}

/* The member lives as long as the thread that opens. */
static int
nic_open(void)
{
	int err = join_instance();

	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); /* peers reach private memory */
	SN_LOG("joined instance %s as member %u: %s", sn_nic.instance.dir, sn_nic.instance.slot,
	       err ? strerror(-err) : "ok");
	if (err)
		return err;
	err = sn_nic.wire->open ? sn_nic.wire->open() : 0;
	if (err) {
		sn_instance_leave(&sn_nic.instance);
		return err;
	}
	sn_copy_init();
	sn_held_init();
	sn_strict_init();
	sn_faults_init();
	sn_trace_open();
	return 0;
}

static void
nic_close(void)
{
	if (sn_nic.wire->close)
		sn_nic.wire->close();
	sn_peer_unmap_all();
	sn_trace_close();
	sn_instance_leave(&sn_nic.instance);
}

static void *
nic_main(void *arg)
{
	int err = nic_open();

	(void)arg;
	prctl(PR_SET_NAME, "softnic", 0, 0, 0);
	if (!err)
		raise_priority();
	tell(err);
	if (err)
		return NULL;
	sn_nic_loop();
	nic_close();
	return NULL;
}

static bool
is_stepped(void)
{
	const struct sn_settings *settings = sn_settings_own();

	return settings && settings->fabric.step_ns;
}

static int
spawn(void)
{
	sigset_t all, old;
	int err;

	atomic_store(&sn_nic.stop, false);
	sigfillset(&all); /* signals are the program's */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&life.thread, NULL, nic_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

static void
start(void)
{
	TAILQ_INIT(&sn_nic.uars);
	TAILQ_INIT(&sn_nic.active);
	TAILQ_INIT(&sn_nic.broken);
	TAILQ_INIT(&sn_nic.notifying);
	if (is_stepped()) {
		life.err = nic_open();
		life.state = life.err ? STOPPED : RUNNING;
	} else {
		life.err = spawn();
		life.state = life.err ? STOPPED : STARTING;
	}
}

int
sn_nic_start(void)
{
	int err;

	pthread_mutex_lock(&life.lock);
	if (life.state == FAILED) {
		pthread_join(life.thread, NULL);
		life.state = STOPPED;
	}
	if (life.state == STOPPED)
		start();
	while (life.state == STARTING)
		pthread_cond_wait(&life.changed, &life.lock);
	err = life.err;
	pthread_mutex_unlock(&life.lock);
	return err;
}

void
sn_nic_stop(void)
{
	sn_cm_carrier_stop();
	pthread_mutex_lock(&life.lock);
	if (life.state == RUNNING && is_stepped()) {
		nic_close();
	} else if (life.state == RUNNING) {
		atomic_store(&sn_nic.stop, true);
		pthread_join(life.thread, NULL);
	}
	life.state = STOPPED;
	pthread_mutex_unlock(&life.lock);
}

int
softnic_step(void)
{
	struct sn_shm *shm;

	if (!is_stepped())
		return -EPERM;
	if (life.state != RUNNING)
		return -ENODEV;
	shm = sn_nic.instance.shm;
	return (int)sn_nic_pass(atomic_fetch_add(&shm->step_clock_ns, shm->fabric.step_ns) +
				shm->fabric.step_ns);
}

/* ---- fork: the child has no NIC thread and no devices ---- */

static void
before_fork(void)
{
	pthread_mutex_lock(&life.lock);
	pthread_mutex_lock(&sn_nic.lock);
}

static void
after_fork_parent(void)
{
	pthread_mutex_unlock(&sn_nic.lock);
	pthread_mutex_unlock(&life.lock);
}

static void
after_fork_child(void)
{
	pthread_mutex_init(&sn_nic.lock, NULL);
	pthread_mutex_init(&life.lock, NULL);
	pthread_cond_init(&life.changed, NULL);
	if (life.state == STOPPED)
		return;
	life.state = STOPPED;
	sn_trace_forget();
	if (sn_nic.wire->close)
		sn_nic.wire->close();
	sn_instance_unmap(&sn_nic.instance);
	memset(sn_nic.qp, 0, sizeof(sn_nic.qp));
	atomic_store(&sn_nic.commands_waiting, 0);
	sn_cm_forget_all();
	sn_fd_forget_all();
	sn_object_forget_all();
}

__attribute__((constructor)) static void
nic_init(void)
{
	sn_log_init();
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

__attribute__((destructor)) static void
nic_fini(void)
{
	sn_nic_stop();
}
