import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { PROGRAMS, repositoryFile } from './deploy-files.js'
import type { LongPath } from './long-path-probe.js'

// `ip` and `tc` are of Debian's iproute2, `sysctl` of procps. What is set here is gone with the namespace.
const NAMESPACE = `mkondo-test-${process.pid}`
const PROBE = fileURLToPath(new URL('./long-path-probe.js', import.meta.url))
const ONE_WAY_MS = 60
const LOSS_PERCENT = 2
const AUDIO_S = 6
/** As a kernel comes, whatever the namespace got from its host. Each namespace may have Reno, and Cubic only by its leave. */
const KERNEL_DEFAULTS = ['net.ipv4.tcp_slow_start_after_idle = 1', 'net.ipv4.tcp_congestion_control = reno']

/** @throws Error with what the program says */
function run(program: string, ...args: readonly string[]): string {
  const { error, status, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    env: PROGRAMS,
    timeout: 60_000,
  })
  if (error !== undefined) throw error
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr.trim()}`)
  return stdout
}

function within(...command: readonly string[]): string {
  return run('ip', 'netns', 'exec', NAMESPACE, ...command)
}

/** A namespace whose loopback takes `ONE_WAY_MS`. @returns false, and skips the test loudly, where it cannot be had */
function slowLoopback(t: Test): boolean {
  t.teardown(() => {
    spawnSync('ip', ['netns', 'del', NAMESPACE], { env: PROGRAMS })
  })
  try {
    run('ip', 'netns', 'add', NAMESPACE)
    // Else packets of 64 KB would make ten of them, a connection's start, more than any burst.
    within('ip', 'link', 'set', 'lo', 'mtu', '1500', 'up')
    within('tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'netem', 'delay', `${ONE_WAY_MS}ms`)
    return true
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown)
    console.error(
      `SKIPPED: ${t.name}: no slow loopback here (iproute2, root and the kernel's netem are needed): ${why}`,
    )
    t.skip(`no slow loopback: ${why}`, () => undefined)
    return false
  }
}

/** The settings of the long path that a namespace has of its own. */
function settingsOf(text: string): readonly string[] {
  const longPath = text.slice(text.indexOf('# The long path'))
  return longPath.split('\n').filter((line) => line.startsWith('net.ipv4.'))
}

function measured(t: Test, name: string, settings: readonly string[]): LongPath {
  for (const setting of settings) {
    try {
      within('sysctl', '-qw', setting.replaceAll(' ', ''))
    } catch (thrown) {
      // Only a host can allow it to its namespaces.
      if (!setting.includes('congestion')) throw thrown
      console.error(`not measured here: ${setting}: ${String(thrown)}`)
    }
  }
  const path = JSON.parse(within(process.execPath, PROBE, String(AUDIO_S))) as LongPath
  const late = (share: number): string =>
    (path.lateMs[Math.floor((path.lateMs.length - 1) * share)] as number).toFixed(0)
  t.comment(
    `${name}: a burst after a pause took ${path.burstMs.toFixed(0)} ms; audio was late by ${late(0.5)} ms (p50), ${late(0.95)} (p95), ${late(0.99)} (p99), ${late(1)} at most`,
  )
  return path
}

t.test('the kernel settings shorten a burst after a pause', async (t) => {
  if (!slowLoopback(t)) return
  const settings = settingsOf(repositoryFile('deploy/sysctl.conf'))
  t.ok(settings.length >= 3)
  const messages = (AUDIO_S * 1000) / 20
  for (const loss of [0, LOSS_PERCENT]) {
    within('tc', 'qdisc', 'change', 'dev', 'lo', 'root', 'netem', 'delay', `${ONE_WAY_MS}ms`, 'loss', `${loss}%`)
    const before = measured(t, `${loss} % lost, as the kernel comes`, KERNEL_DEFAULTS)
    const after = measured(t, `${loss} % lost, with deploy/sysctl.conf`, settings)
    t.equal(before.lateMs.length, messages)
    t.equal(after.lateMs.length, messages)
    if (loss === 0) t.ok(after.burstMs < before.burstMs, `${after.burstMs} ms, without the settings ${before.burstMs}`)
  }
})
