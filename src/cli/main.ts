#!/usr/bin/env node
import { GatewayError, messageOf } from '../core/errors.js'
import { packageVersion } from '../config/package-root.js'
import { SETTINGS } from '../config/settings.js'
import type { Setting } from '../config/settings.js'
import { PROCESS_TERMINAL, USAGE_CODES, untilSignal } from './command-line.js'

/** A command takes its own arguments and returns the exit code: 0 done, 1 failed, 2 used wrongly. */
type Command = (argv: readonly string[]) => Promise<number>

// Imported on use, so that `mkondo help` needs no native module and each command starts fast.
const COMMANDS: Readonly<Record<string, { readonly help: string; readonly load: () => Promise<Command> }>> = {
  serve: { help: 'run the gateway until stopped (default)', load: async () => (await import('./serve.js')).serve },
  call: {
    help: 'place a simulated call into a running gateway',
    load: async () => {
      const { runCallCommand } = await import('../simulator/call-command.js')
      return (argv) => runCallCommand([...argv], PROCESS_TERMINAL)
    },
  },
  demo: {
    help: 'start everything, place three calls, check what the callers heard',
    load: async () => (await import('./demo.js')).demo,
  },
  replay: {
    help: 'run recorded calls again, and say what differs',
    load: async () => (await import('./replay.js')).replay,
  },
  simulate: {
    help: 'run scenario files: simulated callers, and what must come of their calls',
    load: async () => (await import('./simulate.js')).simulate,
  },
  numbers: { help: 'list, claim and route phone numbers', load: async () => (await import('./numbers.js')).numbers },
  calls: {
    help: 'list, show, hang up and escalate calls of all nodes',
    load: async () => (await import('./calls.js')).calls,
  },
  fleet: { help: 'the nodes of a fleet, and their store', load: async () => (await import('./fleet.js')).fleet },
  drain: { help: 'let a node finish its calls and end', load: () => nodeCommand('drain') },
  cordon: { help: 'let a node take no new calls', load: () => nodeCommand('cordon') },
  uncordon: { help: 'let a cordoned node take calls again', load: () => nodeCommand('uncordon') },
  'call-out': {
    help: 'ring a number and have an agent talk to whoever answers',
    load: async () => (await import('./call-out.js')).callOut,
  },
  simulator: {
    help: 'run a carrier to test against: its REST API, and people to ring',
    load: async () => {
      const { runSimulatorCommand } = await import('../simulator/rest/simulator-command.js')
      return (argv) => untilSignal((signal) => runSimulatorCommand(argv, { ...PROCESS_TERMINAL, signal }))
    },
  },
  bundle: {
    help: 'collect what support needs of a call, redacted, in one file',
    load: async () => (await import('./bundle.js')).bundle,
  },
  erase: {
    help: 'delete what is kept of a call, or of all calls of a number',
    load: async () => (await import('./erase.js')).erase,
  },
  double: {
    help: "run a double of a model's service, which answers as the agents do",
    load: async () => (await import('./double.js')).double,
  },
  check: {
    help: 'check settings, agents, keys, ports and reachability',
    load: async () => (await import('./check.js')).check,
  },
}

async function nodeCommand(command: 'drain' | 'cordon' | 'uncordon'): Promise<Command> {
  const { nodeCommand: run } = await import('./fleet.js')
  return (argv) => run(command, argv)
}

function usage(): string {
  const commands = Object.entries(COMMANDS).map(([name, command]) => `  mkondo ${name.padEnd(9)} ${command.help}`)
  return [
    'mkondo: a media gateway for voice agents on phone calls',
    '',
    ...commands,
    '  mkondo help [settings]',
    '  mkondo version',
    '',
    'Each command explains itself with --help.',
  ].join('\n')
}

function settingsHelp(): string {
  const rows = Object.values(SETTINGS).map((setting: Setting<unknown>) => {
    const { fallback: value } = setting
    const shown = typeof value === 'number' || typeof value === 'boolean' || typeof value === 'string'
    const fallback = setting.secret === true ? ' (secret)' : shown ? ` (default ${value})` : ''
    return `  ${setting.env.padEnd(26)} ${setting.help}${fallback}\n${' '.repeat(29)}${setting.kind.allowed}`
  })
  return ['Settings come from the environment, then from mkondo.yaml (keys in camelCase):', '', ...rows].join('\n')
}

async function main(argv: readonly string[]): Promise<number> {
  const [first, ...rest] = argv
  if (first === 'help' || first === '--help' || first === '-h') {
    console.log(rest[0] === 'settings' ? settingsHelp() : usage())
    return 0
  }
  if (first === 'version' || first === '--version') {
    console.log(packageVersion())
    return 0
  }
  const name = first === undefined || first.startsWith('-') ? 'serve' : first
  const command = COMMANDS[name]
  if (command === undefined) {
    console.error(
      `mkondo: unknown command '${name.slice(0, 40)}'; allowed: ${Object.keys(COMMANDS).join(', ')}, help, version`,
    )
    return 2
  }
  const run = await command.load()
  return await run(name === first ? rest : argv)
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (thrown) {
  for (const line of messageOf(thrown).split('\n')) console.error(`mkondo: ${line}`)
  process.exitCode = thrown instanceof GatewayError && USAGE_CODES.has(thrown.code) ? 2 : 1
}
