import { runSimulatorCommand } from '../simulator/rest/simulator-command.js'

/** `mkondo simulator`: everything about it is the simulator's. */
export async function simulator(argv: readonly string[]): Promise<number> {
  const stop = new AbortController()
  const onSignal = (): void => { stop.abort() }
  process.once('SIGTERM', onSignal)
  process.once('SIGINT', onSignal)
  try {
    return await runSimulatorCommand(argv, {
      out: (text) => process.stdout.write(text), err: (text) => process.stderr.write(text), env: process.env, signal: stop.signal,
    })
  } finally {
    process.off('SIGTERM', onSignal)
    process.off('SIGINT', onSignal)
  }
}
