// Common part of the peers for single steps: options, CPU time per frame in rounds, and the answer.
const { rounds, roundMs } = JSON.parse(process.env.BENCH_MICRO ?? '{"rounds":5,"roundMs":60}')

process.on('disconnect', () => process.exit(0))

/**
 * Runs `frame` (20 ms of one call) in rounds.
 * @returns for each round, the CPU time of all threads in µs per frame
 */
export async function time(frame, framesPerRound = Infinity) {
  const us = []
  for (let round = 0; round <= rounds; round++) {
    const until = performance.now() + roundMs
    const before = process.cpuUsage()
    let frames = 0
    while (performance.now() < until && frames < framesPerRound) {
      await frame()
      frames++
    }
    const { user, system } = process.cpuUsage(before)
    // The first round is warm-up.
    if (round > 0) us.push((user + system) / frames)
  }
  return us
}

export function answer(times) {
  process.send?.({ type: 'micro', times: times.map(({ name, us }) => ({ name, us, heapBytesPerFrame: null })) })
}

/** 20 ms of sound that resembles speech. */
export function material(rateHz) {
  return Int16Array.from({ length: rateHz / 50 }, (_, i) => 3000 * Math.sin(i * 0.07) + ((i * 7919) % 1000))
}
