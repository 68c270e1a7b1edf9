import { DOUBLES, DOUBLE_FAULTS, type DoubleName } from '../../simulator/choices.js'
import type { RunDoubleOptions } from '../double.js'
import { UsageError, withExitCodes } from '../exit-codes.js'
import { oneOf, repeated, text, valued, whole } from '../options.js'
import { untilSignal } from '../terminal.js'
import type { Define } from './define.js'

const NAMES = Object.keys(DOUBLES)
const FAULTS = Object.keys(DOUBLE_FAULTS)

export const defineDouble: Define = (program, terminal, ends) => {
  const command = program
    .command('double')
    .description("run a double of a model's service, which answers as the agents do")
    .argument('<service>', NAMES.join(', '), (value) => oneOf(NAMES)(value, 'the service'))
    .addOption(
      repeated(
        '--agent <name>',
        'answers as this agent, whatever the instructions are; several by repeating it (all with an offline: block)',
        text,
      ),
    )
    .option('--agents-dir <folder>', 'where the agents are (default: AGENTS_DIR, or the shipped ones)')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .addOption(valued('--port <n>', 'its port, 0 for a free one (default: by service)', whole(0, 65_535)))
    .addOption(valued('--key <key>', 'the key that it wants', key).default('sk-double'))
    .addOption(valued('--think-ms <ms>', 'wait before each answer', whole(0, 60_000)).default(0))
    .addOption(
      valued('--silence-ms <ms>', 'silence after which it takes a turn as ended', whole(100, 5000)).default(500),
    )
    .addOption(valued('--breaks-after <seconds>', 'breaks each connection off after so long', whole(1, 86_400)))
    .addOption(repeated('--fault <name>', 'misbehaves; may be repeated', oneOf(FAULTS), FAULTS))
    .addHelpText(
      'after',
      `
For trying a backend without its key: a double hears the caller, follows the offline: dialogue of the agent whose
instructions it gets, calls its tools, and speaks with the embedded voice. It prints the variables with which a gateway
uses it, and runs until it is stopped.

Services:
${listed(Object.entries(DOUBLES).map(([name, { what, port }]) => [name, `${what} (port ${port})`]))}

Faults:
${listed(Object.entries(DOUBLE_FAULTS))}`,
    )
  withExitCodes(command, 'stopped', 'failed').action(async (service: DoubleName, options: RunDoubleOptions) => {
    const { runDouble } = await import('../double.js')
    await untilSignal(terminal, (signal) => runDouble(service, options, terminal, signal))
    ends(0)
  })
}

function key(value: string, name: string): string {
  if (/^[!-~]{1,200}$/.test(value)) return value
  throw new UsageError(`${name} has to be 1 to 200 characters without spaces`)
}

function listed(rows: readonly (readonly [string, string])[]): string {
  return rows.map(([name, what]) => `  ${name.padEnd(16)}${what}`).join('\n')
}
