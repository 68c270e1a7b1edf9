import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { SETTINGS } from '../../src/config/settings.js'
import { AFTER_DRAIN_MS, PROGRAMS, hasProgram, repositoryFile, settingValue, spanMs } from './deploy-files.js'

const unit = repositoryFile('deploy/systemd/mkondo.service')
const directives = [...unit.matchAll(/^([A-Z]\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value] as const)
const valueOf = (name: string): string => directives.findLast(([known]) => known === name)?.[1] ?? ''

t.test('systemd waits longer than the drain takes', async (t) => {
  const environment = valueOf('Environment')
    .split(' ')
    .map((pair) => pair.split('='))
  const drain = environment.find(([name]) => name === 'DRAIN_TIMEOUT')?.[1] ?? ''
  const drainMs = settingValue('DRAIN_TIMEOUT', drain)
  t.type(drainMs, 'number')
  t.ok(
    spanMs(valueOf('TimeoutStopSec')) >= Number(drainMs) + AFTER_DRAIN_MS,
    `${valueOf('TimeoutStopSec')} for ${drain}`,
  )
  t.ok(spanMs(valueOf('TimeoutStopSec')) >= SETTINGS.drainTimeoutMs.fallback + AFTER_DRAIN_MS)
  t.equal(valueOf('KillSignal'), 'SIGTERM')
  t.equal(valueOf('KillMode'), 'mixed', 'one signal, to the process itself: a second one would cut calls')
  t.notMatch(valueOf('ExecStart'), /npm|sh -c/, 'nothing between systemd and the process')
  for (const [name = '', value = ''] of environment) {
    if (name === 'UV_THREADPOOL_SIZE') t.equal(value, '64')
    else if (name !== 'NODE_ENV') t.not(settingValue(name, value), undefined, `${name}=${value} is a setting`)
  }
})

t.test('a reload is the signal of a roll, and goes to the process itself', async (t) => {
  t.equal(valueOf('ExecReload'), '/bin/kill -HUP $MAINPID')
  t.match(repositoryFile('deploy/README.md'), /systemctl reload mkondo/)
})

t.test('a mistake in the settings is not tried again, a crash is', async (t) => {
  t.equal(valueOf('Restart'), 'on-failure', 'an operator who drains it wants it stopped')
  t.equal(valueOf('RestartPreventExitStatus'), '2')
})

t.test('the unit gives up what the gateway does not need, and keeps what it does', async (t) => {
  t.ok(Number(valueOf('LimitNOFILE')) >= 3 * 20_000, 'three descriptors a call at the most calls that MAX_CALLS allows')
  for (const [name, value] of [
    ['NoNewPrivileges', 'yes'],
    ['ProtectSystem', 'strict'],
    ['DynamicUser', 'yes'],
    ['CapabilityBoundingSet', ''],
    ['UMask', '0077'],
  ] as const) {
    t.ok(
      directives.some(([known, given]) => known === name && given === value),
      `${name}=${value}`,
    )
  }
  t.notOk(
    directives.some(([name]) => name === 'MemoryDenyWriteExecute'),
    'V8 compiles as it runs',
  )
})

t.test('every line of the example environment is a setting, and holds no secret', async (t) => {
  const lines = repositoryFile('deploy/systemd/mkondo.env.example').split('\n')
  const pairs = lines.flatMap((line) => {
    const match = /^#?([A-Z][A-Z_]+)=(.*)$/.exec(line)
    return match === null ? [] : [[match[1] as string, match[2] as string] as const]
  })
  const settings = new Map<string, { secret?: boolean }>(
    Object.values(SETTINGS).map((setting) => [setting.env, setting]),
  )
  t.ok(pairs.length >= 6)
  for (const [name, value] of pairs) {
    t.ok(settings.has(name), `${name} is a setting`)
    if (settings.get(name)?.secret === true) t.equal(value, '', `${name} is left empty`)
    else if (value !== '') t.not(settingValue(name, value), undefined, `${name}=${value}`)
  }
})

t.test('systemd itself finds nothing wrong with the unit', async (t) => {
  if (!hasProgram(t, 'systemd-analyze', 'systemd')) return
  // The program that the unit starts must be there for the check, wherever Node is installed here.
  const folder = join(t.testdir({}), 'units')
  mkdirSync(folder)
  const file = join(folder, 'mkondo.service')
  writeFileSync(file, unit.replace('/usr/bin/node', process.execPath))
  const verified = spawnSync('systemd-analyze', ['verify', '--man=no', file], { encoding: 'utf8', env: PROGRAMS })
  t.equal(verified.status, 0, verified.stderr)
  t.notMatch(verified.stderr, /mkondo\.service/)
})

t.test('each kernel setting is one that this kernel has, and explained', async (t) => {
  const text = repositoryFile('deploy/sysctl.conf')
  const blocks = text.split(/\n\n+/)
  const settings = blocks.flatMap((block) =>
    block
      .split('\n')
      .filter((line) => /^[a-z]/.test(line))
      .map((line) => ({ line, block })),
  )
  t.same(
    settings.map(({ line }) => line.split(' = ')[0]),
    [
      'net.ipv4.tcp_wmem',
      'net.ipv4.tcp_notsent_lowat',
      'net.ipv4.tcp_migrate_req',
      'net.ipv4.tcp_slow_start_after_idle',
      'net.ipv4.tcp_thin_linear_timeouts',
      'net.core.default_qdisc',
      'net.ipv4.tcp_congestion_control',
    ],
  )
  for (const { line, block } of settings) {
    t.match(line, /^[a-z0-9_.]+ = (\d+( \d+ \d+)?|fq|bbr)$/)
    t.match(block, /^# /, `${line} has its reason`)
  }
  const most = Number(/tcp_wmem = \d+ \d+ (\d+)/.exec(text)?.[1])
  const [highestRateBytesPerS, longestStuckS] = [32_000, 3]
  t.ok(most <= highestRateBytesPerS * longestStuckS, 'a stuck socket shows within three seconds of 16 kHz audio')
})
