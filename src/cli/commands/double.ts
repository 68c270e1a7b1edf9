import { DOUBLES, DOUBLE_FAULTS, SCENARIO_DOUBLES, SERVICE_DOUBLES } from '../../simulator/choices.js'
import type { RunDoubleOptions } from '../double.js'
import { UsageError, withExitCodes } from '../exit-codes.js'
import { chosenArgument, oneOf, repeated, text, valued, whole } from '../options.js'
import { untilSignal } from '../terminal.js'
import type { Define } from './define.js'

const NAMES = [DOUBLES, SERVICE_DOUBLES, SCENARIO_DOUBLES].flatMap((doubles) => Object.keys(doubles))
const FAULTS = Object.keys(DOUBLE_FAULTS)

export const defineDouble: Define = (program, terminal, ends) => {
  const command = program
    .command('double')
    .description('run a local double of a model service, which answers as the agents do')
    .addArgument(chosenArgument('<service>', 'the service', NAMES))
    .addOption(
      repeated(
        '--agent <name>',
        'answers as this agent, whatever the instructions are; may be repeated (default: all agents with an offline: block)',
        text,
      ),
    )
    .option('--agents-dir <folder>', 'folder of agent files (default: AGENTS_DIR, or the shipped ones)')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .addOption(valued('--port <n>', 'its port, 0 for a free one (default: by service)', whole(0, 65_535)))
    .addOption(valued('--key <key>', 'the API key that it accepts', key).default('sk-double'))
    .addOption(valued('--think-ms <ms>', 'delay before each answer', whole(0, 60_000)).default(0))
    .addOption(valued('--silence-ms <ms>', 'silence that ends a turn', whole(100, 5000)).default(500))
    .addOption(valued('--breaks-after <seconds>', 'ends each connection after this time', whole(1, 86_400)))
    .addOption(repeated('--fault <name>', 'fault to simulate; may be repeated', oneOf(FAULTS), FAULTS))
    .addHelpText(
      'after',
      `
Use it to try a backend without a key. A double recognises the caller, follows the offline: dialogue of the agent whose
instructions it receives, calls its tools, and speaks with the embedded voice. It prints the variables that connect a
gateway to it, and runs until it is stopped.

Services:
${listed(Object.entries(DOUBLES).map(([name, { what, port }]) => [name, `${what} (port ${port})`]))}

Services of a cascade, over their own protocols. The double also runs what the cascade needs beside them, such as a
language model, at the next port (docs/CASCADE.md):
${listed(Object.entries(SERVICE_DOUBLES).map(([name, { what, port }]) => [name, `${what} (port ${port})`]))}

For scenarios (docs/SIMULATOR.md, "Callers and judges that are models"). These doubles follow the files of the
scenarios, not an agent:
${listed(Object.entries(SCENARIO_DOUBLES).map(([name, { what, port }]) => [name, `${what} (port ${port})`]))}

Faults:
${listed(Object.entries(DOUBLE_FAULTS))}`,
    )
  withExitCodes(command, 'stopped', 'failed').action(async (service: string, options: RunDoubleOptions) => {
    const { runDouble } = await import('../double.js')
    await untilSignal(terminal, (signal) => runDouble(service, options, terminal, signal))
    ends(0)
  })
}

function key(value: string, name: string): string {
  if (/^[!-~]{1,200}$/.test(value)) return value
  throw new UsageError(`${name} is not a key; allowed: 1 to 200 characters without spaces`)
}

function listed(rows: readonly (readonly [string, string])[]): string {
  return rows.map(([name, what]) => `  ${name.padEnd(22)}${what}`).join('\n')
}
