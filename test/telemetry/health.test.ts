import t from 'tap'
import { CgroupWatch, cgroupFolders, parseCpuStat, parseMemory } from '../../src/telemetry/cgroup.js'
import { Metrics, ScrapePage } from '../../src/telemetry/metrics.js'
import { FrameHistogram } from '../../src/telemetry/frame-histogram.js'
import { SLOWEST_FRAME_BYTES, SlowestFrame } from '../../src/telemetry/slowest-frame.js'

const V2 =
  'usage_usec 5000000\nuser_usec 1\nsystem_usec 1\nnr_periods 120\nnr_throttled 7\nthrottled_usec 350000\nnr_bursts 0\n'
const V1 = 'nr_periods 120\nnr_throttled 7\nthrottled_time 350000000\n'

t.test('throttling is read from cgroups v1 and v2', async (t) => {
  t.same(parseCpuStat(V2), { periods: 120, throttledPeriods: 7, throttledSeconds: 0.35 })
  t.same(parseCpuStat(V1), parseCpuStat(V2))
  t.equal(parseCpuStat('usage_usec 1\nuser_usec 1\n'), null)
  t.equal(parseCpuStat('no such file'), null)
  t.same(cgroupFolders('0::/system.slice/mkondo.service\n', [])[0], '/sys/fs/cgroup/system.slice/mkondo.service')
  t.same(cgroupFolders('0::/../../etc\n', []), ['/sys/fs/cgroup'])
  t.same(cgroupFolders('12:cpu:/x\n0::/\n', ['cpu']), ['/sys/fs/cgroup', '/sys/fs/cgroup/cpu'])
})

t.test('the memory limit is read from cgroups v1 and v2', async (t) => {
  const v2 = 'anon 900\nfile 5000\nshmem 1\n'
  t.same(parseMemory(v2, '1000\n'), { usedBytes: 900, limitBytes: 1000 }, 'without the file cache')
  t.same(parseMemory('cache 5000\nrss 1\ntotal_rss 900\n', '1000\n'), { usedBytes: 900, limitBytes: 1000 })
  t.equal(parseMemory(v2, 'max\n'), null)
  t.equal(parseMemory('total_rss 900\n', '9223372036854771712\n'), null, 'no limit, as version 1 writes it')
  t.equal(parseMemory('', '1000\n'), null)
})

t.test('the cgroup files are looked for only once', async (t) => {
  const asked: string[] = []
  const files: Record<string, string> = {
    '/proc/self/cgroup': '0::/a',
    '/sys/fs/cgroup/a/cpu.stat': V2,
    '/sys/fs/cgroup/memory/memory.limit_in_bytes': '1000\n',
    '/sys/fs/cgroup/memory/memory.stat': 'total_rss 600\n',
  }
  const watch = new CgroupWatch(async (path) => {
    asked.push(path)
    const text = files[path]
    if (text === undefined) throw new Error('ENOENT')
    return text
  })
  await watch.look()
  t.match(watch.cpu, { throttledPeriods: 7 })
  t.match(watch.memory, { usedBytes: 600 }, 'of another version of control groups')
  asked.length = 0
  await watch.look()
  t.same(
    asked.filter((path) => path.endsWith('.stat')),
    ['/sys/fs/cgroup/a/cpu.stat', '/sys/fs/cgroup/memory/memory.stat'],
  )
  delete files['/sys/fs/cgroup/a/cpu.stat']
  await watch.look()
  t.equal(watch.cpu, null, 'a group that was removed is not known any more')

  const none: string[] = []
  const nowhere = new CgroupWatch(async (path) => {
    none.push(path)
    throw new Error('ENOENT')
  })
  await nowhere.look()
  const looks = none.length
  await nowhere.look()
  t.equal(nowhere.cpu, null)
  t.equal(none.length, looks)
})

t.test('many scrapes at once render one page [1]', async (t) => {
  let nowMs = 0
  let made = 0
  const counts = { made: 0, reused: 0 }
  const page = new ScrapePage({
    clock: () => nowMs,
    render: async () => `page ${++made}`,
    made: { inc: () => counts.made++ },
    reused: { inc: () => counts.reused++ },
  })
  const pages = await Promise.all(Array.from({ length: 1000 }, () => page.get()))
  t.same([...new Set(pages)], ['page 1'])
  t.same(counts, { made: 1, reused: 999 })
  nowMs += 1000
  t.equal(await page.get(), 'page 2')
})

t.test('after a failed rendering the next scrape renders again', async (t) => {
  let broken = true
  const none = { inc: () => undefined }
  const page = new ScrapePage({
    clock: () => 0,
    made: none,
    reused: none,
    render: () => {
      if (broken) throw new Error('a metric threw')
      return 'well'
    },
  })
  await t.rejects(page.get(), /a metric threw/)
  broken = false
  t.equal(await page.get(), 'well')
})

t.test('the slowest frame names its call once', async (t) => {
  const memory = new SharedArrayBuffer(SLOWEST_FRAME_BYTES)
  const worker = new SlowestFrame(memory)
  const main = new SlowestFrame(memory)
  t.equal(main.take(), null)
  worker.offer(3, 'HD_000000000001')
  worker.offer(12.5, 'HD_000000000002')
  worker.offer(4, 'HD_000000000003')
  t.same(main.take(), { callSid: 'HD_000000000002', ms: 12.5 })
  t.equal(main.take(), null)
  worker.offer(1, 'x'.repeat(1000))
  t.equal(main.take()?.callSid.length, 64, 'a name too long is cut, and nothing beyond is touched')
})

t.test('the idle share of a media worker is its slack', async (t) => {
  const metrics = new Metrics({ version: '0', processMetrics: false })
  const busy = new FrameHistogram()
  metrics.tickBusyFrom(0, busy)
  t.match(await metrics.render(), /mkondo_tick_slack_ratio\{worker="0"\} 1\n/)
  busy.observeMs(5)
  t.match(await metrics.render(), /mkondo_tick_seconds_count\{worker="0"\} 1\n/)
})

t.test("a labelled gauge shows its sources' sum or maximum", async (t) => {
  const metrics = new Metrics({ version: '0', processMetrics: false })
  const letGo = metrics.ringFill.from({ ring: 'in' }, () => 0.25)
  metrics.ringFill.from({ ring: 'in' }, () => 0.75)
  metrics.workers.from({ pool: 'media' }, () => 2)
  metrics.workers.from({ pool: 'media' }, () => 3)
  let page = await metrics.render()
  t.match(page, /mkondo_ring_fill_ratio\{ring="in"\} 0.75\n/)
  t.match(page, /mkondo_workers\{pool="media"\} 5\n/)
  letGo()
  metrics.tickSlack.from({ worker: '0' }, () => NaN)
  page = await metrics.render()
  t.match(page, /mkondo_ring_fill_ratio\{ring="in"\} 0.75\n/)
  t.notMatch(page, /mkondo_tick_slack_ratio\{/, 'what is not known is not shown')
})

t.test('an exemplar names call and trace within 128 characters', async (t) => {
  const metrics = new Metrics({ version: '0', processMetrics: false, traceIdOf: () => 'f'.repeat(32) })
  metrics.bargeInStop({ agent: 'a', backend: 'b' }).observe(0.05, 'H'.repeat(64))
  const page = await metrics.render()
  const exemplar = /# \{([^}]*)\}/.exec(page)?.[1] ?? ''
  t.match(exemplar, /call_sid="H{64}",trace_id="f{32}"/)
  t.ok(exemplar.replace(/[=",]/g, '').length <= 128)
})
