import type { LegRateHz } from '../../src/core/units.js'
import { simulateOneCall, type SimulatedRun, type SimulatedRunOptions } from './simulated.js'

/** A caller's line with an echo of the agent's voice. */
interface EchoLine {
  readonly rateHz: LegRateHz
  /** How much softer than it was sent. */
  readonly softerDb: number
  readonly delayMs: number
}

export function nameOf({ rateHz, softerDb, delayMs }: EchoLine): string {
  return `${rateHz} Hz, -${softerDb} dB after ${delayMs} ms`
}

/** A call about order 4127 over such a line. @param interrupts the caller speaks over the greeting */
export function callOver(
  line: EchoLine,
  at: Omit<SimulatedRunOptions, 'args'>,
  interrupts = false,
): Promise<SimulatedRun> {
  return simulateOneCall({
    ...at,
    args: [
      '--from',
      '+254700000009',
      '--order',
      '4127',
      '--rate',
      String(line.rateHz),
      '--echo',
      String(line.softerDb),
      '--echo-delay',
      String(line.delayMs),
      ...(interrupts ? ['--interrupt'] : []),
    ],
  })
}
