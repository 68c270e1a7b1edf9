import { readFileSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'

/** @returns the thread id of the calling thread in Linux; 0 if the system has no /proc */
export function ownSystemThread(): number {
  try {
    return Number(basename(readlinkSync('/proc/thread-self')))
  } catch {
    return 0
  }
}

/**
 * Total time in ms that a thread of this process was ready to run and waited for a processor, since the thread's start.
 * Source: the second field of /proc/PID/task/TID/schedstat, in ns (Linux, Documentation/scheduler/sched-stats.rst).
 * @param systemThread  from `ownSystemThread`
 * @returns 0 if the system does not report this time
 */
export function processorWaitMs(systemThread: number): number {
  if (systemThread === 0) return 0
  try {
    const [, waitedNs] = readFileSync(`/proc/self/task/${systemThread}/schedstat`, 'utf8').split(' ')
    return Number(waitedNs) / 1e6 || 0
  } catch {
    return 0
  }
}
