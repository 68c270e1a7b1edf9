const originNs = process.hrtime.bigint()
const offsetMs = Number(originNs) / 1e6 - performance.now()

/** CLOCK_MONOTONIC in milliseconds: comparable between the processes of one machine. */
export function machineMs(): number {
  return performance.now() + offsetMs
}
