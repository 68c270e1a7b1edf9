import { runCallCommand } from '../simulator/call-command.js'

/** `mkondo call`: everything about it is the simulator's. */
export function call(argv: readonly string[]): Promise<number> {
  return runCallCommand([...argv], {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    env: process.env,
  })
}
