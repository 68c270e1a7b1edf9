import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import { samplesOfScript, samplesOfV8 } from '../../bench/where/samples.js'
import { shareOf, sharesOf } from '../../bench/where/shares.js'

const js = (file: string, name = 'step') => ({ name, file: `file:///srv/dist/src/${file}` })
const native = (name: string, file = '/usr/bin/node') => ({ name, file })

t.test('a stack belongs to its innermost known frame', async (t) => {
  const tick = js('workers/worker/tick-loop.js')
  t.equal(shareOf([native('Builtins_LoadIC'), js('media/jitter/jitter-buffer.js'), tick]), "caller's path")
  t.equal(
    shareOf([native('wasm-function[3]'), js('core/views.js'), js('media/resample/resampler.js'), tick]),
    'resampling',
  )
  t.equal(shareOf([native('aes_gcm_enc'), native('SSL_write'), js('backends/transport/message-lane.js')]), 'TLS')
  t.equal(shareOf([native('pvm_irq_enable', '[kernel.kallsyms]'), native('uv_write')]), 'kernel')
  t.equal(shareOf([native('epoll_pwait', '/usr/lib/libc.so.6'), native('uv__io_poll')]), 'kernel')
  t.equal(shareOf([native('memmove', '/usr/lib/libc.so.6'), js('workers/shared/shared-call.js')]), 'ring')
  t.equal(shareOf([native('v8::internal::Heap::CollectGarbage'), js('call/call-core.js')]), 'garbage')
  t.equal(shareOf([native('anything')]), 'other')
  t.equal(
    shareOf([
      { name: '(program)', file: '' },
      { name: '(root)', file: '' },
    ]),
    'native code',
  )
})

const SCRIPT = `
  10  100.000100:
\t    55d0c5 Builtins_LoadIC (/usr/bin/node)
\t    7f1b21 JS:*#sweep file:///srv/dist/src/edge/public/carrier-socket.js:12:3 (/tmp/perf-10.map)

  11  100.001100:
\t    7f1b22 JS:*#tick file:///srv/dist/src/workers/worker/tick-loop.js:51:13 (/tmp/perf-10.map)

  11  100.002100:
\t ffffffff81 do_syscall_64 ([kernel.kallsyms])
`

t.test("perf's stacks are read and sum to 100 %", async (t) => {
  const samples = await samplesOfScript(Readable.from(SCRIPT.split('\n')), 10)
  t.match(samples, [
    { thread: 'main', stack: [{ name: 'Builtins_LoadIC' }, { name: '#sweep' }] },
    { thread: 'worker', stack: [js('workers/worker/tick-loop.js', '#tick')] },
    { thread: 'worker', stack: [{ file: '[kernel.kallsyms]' }] },
  ])
  t.ok(Math.abs((samples[0]?.atMs ?? 0) - 100_000.1) < 1e-6)
  const rows = [...sharesOf(samples)]
  t.same(rows.map(([share]) => share).toSorted(), ['carrier socket', 'kernel', 'session'])
  t.ok(Math.abs(rows.reduce((sum, [, { main, worker, other }]) => sum + main + worker + other, 0) - 100) < 1e-9)
})

t.test("V8's profiles are read without idle time", (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-where-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const node = (id: number, functionName: string, url: string, children: number[] = []) => ({
    id,
    callFrame: { functionName, url },
    children,
  })
  const profile = {
    nodes: [
      node(1, '(root)', '', [2, 3]),
      node(2, '(idle)', ''),
      node(3, 'pump', js('workers/main/call/playout-clock.js').file, [4]),
      node(4, 'at', js('core/views.js').file),
    ],
    startTime: 5_000_000,
    samples: [2, 4, 2],
    timeDeltas: [1000, 500, 3000],
  }
  writeFileSync(join(folder, '10-thread0-2.cpuprofile'), JSON.stringify(profile))
  const samples = samplesOfV8(folder)
  t.match(samples, [{ thread: 'main', atMs: 5001.5, weight: 3000 }])
  t.equal(samples.length, 1)
  t.equal(shareOf(samples[0]?.stack ?? []), 'playout')
  t.end()
})
