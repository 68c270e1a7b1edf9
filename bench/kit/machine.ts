import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism, cpus, loadavg, totalmem, type } from 'node:os'
import { join } from 'node:path'
import { packageRoot, packageVersion } from '../../src/config/package-root.js'
import { machineCharges } from './charges.js'
import type { MachineCharges } from './charges.js'

/** Machine, versions and command with which a result was measured. */
export interface Provenance {
  readonly at: string
  readonly command: string
  readonly commit: string
  readonly machine: {
    readonly os: string
    readonly cpu: string
    readonly cores: number
    readonly memoryGib: number
    /** Load average over one minute at the start. It shows what else was running on the machine. */
    readonly loadAtStart: number
    readonly charges: MachineCharges
  }
  readonly versions: Readonly<Record<string, string>>
}

/** Also measures the machine's times for basic operations. Call it before anything else runs. */
export async function provenance(command: string): Promise<Provenance> {
  return {
    at: new Date().toISOString(),
    command,
    commit: commit(),
    machine: {
      os: `${type()} ${kernel()}`,
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: availableParallelism(),
      memoryGib: Math.round(totalmem() / 2 ** 30),
      loadAtStart: Math.round((loadavg()[0] ?? 0) * 100) / 100,
      charges: await machineCharges(),
    },
    versions: {
      mkondo: packageVersion(),
      node: process.versions.node,
      v8: process.versions.v8,
      ...packages(join(packageRoot(), 'package.json'), [
        'uWebSockets.js',
        'ws',
        'piscina',
        '@alexanderolsen/libsamplerate-js',
        'bufferutil',
      ]),
      ...packages(join(packageRoot(), 'bench/peers/package.json'), [
        'fastify',
        '@fastify/websocket',
        '@openai/agents',
        '@openai/agents-extensions',
        '@livekit/rtc-node',
        '@livekit/agents-plugin-silero',
      ]),
    },
  }
}

function kernel(): string {
  try {
    return readFileSync('/proc/sys/kernel/osrelease', 'latin1').trim()
  } catch {
    return ''
  }
}

function commit(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { cwd: packageRoot(), encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    return (
      git('rev-parse', '--short=12', 'HEAD') +
      (git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' (changed)')
    )
  } catch {
    // An installed package does not contain the Git history.
    return 'unknown'
  }
}

/** Versions of the packages that are installed for `from`. Packages that are not installed are left out. */
function packages(from: string, names: readonly string[]): Record<string, string> {
  const folders = createRequire(from).resolve.paths('x') ?? []
  const found: Record<string, string> = {}
  for (const name of names) {
    for (const folder of folders) {
      try {
        found[name] = (
          JSON.parse(readFileSync(join(folder, name, 'package.json'), 'utf8')) as { version: string }
        ).version
        break
      } catch {
        // Not in this folder.
      }
    }
  }
  return found
}

/** Maximum number of open files of this process and its children; Infinity if unknown. */
export function openFilesMax(): number {
  try {
    const line = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'latin1'))
    return line?.[1] === undefined || line[1] === 'unlimited' ? Infinity : Number(line[1])
  } catch {
    return Infinity
  }
}

/** Two lines about the machine: what it is, and how long basic operations take. */
export function machineLines({ machine }: Provenance): readonly [string, string] {
  const { sleepUs, wakeUs, coldReadNs } = machine.charges
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGib} GiB, ${machine.os}, load ${machine.loadAtStart} at the start`,
    `it charges ${sleepUs.toFixed(0)} us of CPU for a sleep of 1 ms, ${wakeUs.toFixed(0)} us for waking a thread, and ${coldReadNs.toFixed(0)} ns for a read that no cache has`,
  ]
}
