import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { command } from '../support/command.js'

const journals = join(packageRoot(), 'test', 'journals')
const interrupted = join(journals, 'caller-interrupts.jsonl.gz')

const run = (...argv: readonly string[]) => command(['replay', ...argv])

t.test('every recorded test call replays identically', async (t) => {
  const { code, out } = await run(journals, '--json')
  const { calls } = JSON.parse(out) as {
    calls: { file: string; same: boolean; audio: boolean; outputs: number }[]
  }
  t.ok(calls.length >= 2, `${calls.length} calls`)
  t.same(
    calls.filter(({ same }) => !same).map(({ file }) => file),
    [],
  )
  t.ok(calls.every(({ outputs }) => outputs > 10))
  t.ok(
    calls.some(({ audio }) => audio),
    'one of them from its audio',
  )
  t.equal(code, 0)
})

t.test('a changed setting shows the decisions that change', async (t) => {
  const { code, out } = await run(interrupted, '--set', 'bargeIn.commitMs=900')
  t.equal(code, 0, 'differences are the answer here')
  t.match(out, /~ +\d+\.\d{3} s {2}playout-clear, now \d{3} ms later/)
  t.match(out, /backend, tools and carrier do what was recorded/)
})

t.test('changed hold and backchannel settings show different decisions', async (t) => {
  const hold = join(journals, 'put-on-hold.jsonl.gz')
  t.match((await run(hold, '--set', 'putOnHold.maxMs=20000')).out, /\+ +\d+\.\d{3} s {2}mark callback-offered/)
  t.match((await run(hold, '--set', 'putOnHold=null')).out, /- +\d+\.\d{3} s {2}mark put-on-hold\n/)
  const short = join(journals, 'backchannels.jsonl.gz')
  t.match((await run(short, '--set', 'bargeIn.backchannel=null')).out, /\+ +\d+\.\d{3} s {2}playout-clear/)
  t.match(await run(hold.replace('put-on-hold', 'caller-id'), '--set', 'putOnHold.maxMs=9'), {
    code: 2,
    err: /putOnHold is null in this call; set the whole of it, as JSON/,
  })
})

t.test('changed end-of-turn settings show when turns would end', async (t) => {
  const longer = await run(interrupted, '--set', 'speech.endOfSpeechMs=900')
  t.match(longer.out, /\+ +\d+\.\d{3} s {2}backend-speech-end/)
  const adaptive = await run(interrupted, '--set', 'speech.adaptive=true')
  t.equal(adaptive.code, 0, 'a setting that the recording does not have')
})

t.test('a changed decision in a journal is reported', async (t) => {
  const lines = gunzipSync(readFileSync(interrupted)).toString().split('\n')
  const changed = lines.map((line) => line.replace('"playout-pause"', '"playout-resume"'))
  const file = join(t.testdir(), 'changed.jsonl')
  writeFileSync(file, changed.join('\n'))
  const { code, out } = await run(file)
  t.equal(code, 1)
  t.match(out, /\+ +\d+\.\d{3} s {2}playout-pause/)
})

t.test('a cut recording contains no caller data', async (t) => {
  const folder = t.testdir()
  const { code } = await run(interrupted, '--cut', 'short', '--to', folder, '--until', '6')
  t.equal(code, 0)
  const file = join(folder, 'short.jsonl.gz')
  const text = gunzipSync(readFileSync(file)).toString()
  t.notMatch(text, /"media":\[/, 'no audio')
  const said = [...text.matchAll(/"record":\{"role":"\w+","text":"([^"]*)"/g)].map(([, words]) => words ?? '')
  t.ok(said.length > 0)
  for (const words of said) t.match(words, /^[x0 .,?!'-]*$/)
  t.match(text, /"callSid":"HD_cut"/)
  t.equal((await run(file)).code, 0)
  t.match(
    await run(interrupted, '--cut', 'short', '--to', folder),
    { code: 2, err: /cannot be written/ },
    'a test is never overwritten',
  )
})

t.test('a cut keeps digit-like frame data and claims', async (t) => {
  const lines = gunzipSync(readFileSync(join(journals, 'put-on-hold.jsonl.gz')))
    .toString()
    .split('\n')
  const digits = '254700000001'
  const at = lines.findIndex((line) => /"levels":"\w{12}/.test(line))
  const alike = lines.map((line, i) => (i === at ? line.replace(/(?<="levels":")\w{12}/, digits) : line))
  const folder = t.testdir({ 'digits.jsonl': alike.join('\n') })
  t.match(await run(join(folder, 'digits.jsonl'), '--cut', 'cut', '--to', folder), { code: 0 })
  const text = gunzipSync(readFileSync(join(folder, 'cut.jsonl.gz'))).toString()
  t.match(text, digits)

  const words = alike.map((line) => line.replaceAll('xxxxx 0000 xx xxx xxx xxxxxxxx', 'Order 4127 is out for delivery'))
  writeFileSync(join(folder, 'words.jsonl'), words.join('\n'))
  t.match((await run(join(folder, 'words.jsonl'), '--diff')).out, /\+ +\d+\.\d{3} s {2}mark claim/, 'it claims')
  t.match(await run(join(folder, 'words.jsonl'), '--cut', 'claims', '--to', folder), { code: 0 })
})

t.test('a cut stops before the first decision that differs', async (t) => {
  const lines = gunzipSync(readFileSync(join(journals, 'put-on-hold.jsonl.gz')))
    .toString()
    .split('\n')
  // As a version with another onset of speech would have recorded it.
  const other = lines.map((line, i) => (i === 0 ? line.replace('"onsetMs":40', '"onsetMs":120') : line))
  const folder = t.testdir({ 'other.jsonl': other.join('\n') })
  const file = join(folder, 'other.jsonl')
  const { code, err } = await run(file, '--cut', 'cut', '--to', folder)
  t.equal(code, 2)
  t.match(
    err,
    /this version runs the call differently from the version that recorded it \(0\.1\.0\): first 7\.338 s into it, "mark caller-speech"/,
  )
  t.notMatch(err, /fault of the gateway/)
  const until = /or cut only the part before it, with --until (\d+)/.exec(err)?.[1] ?? ''
  t.match((await run(file, '--diff')).out, /7\.338 s {2}mark caller-speech/)
  t.match(await run(file, '--cut', 'cut', '--to', folder, '--until', until), { code: 0 })
})

t.test('an unreadable journal or wrong option is refused with reason', async (t) => {
  const folder = t.testdir({
    'broken.jsonl': '{"journal":5,"options":{"callSid":"HD_1"}}\n{"t":1,"in":',
    'no.jsonl.gz': 'no gzip',
    'other.jsonl': '{"journal":9}',
    empty: {},
  })
  const refused = async (err: RegExp, ...argv: readonly string[]) =>
    t.match(await run(...argv), { code: 2, err }, argv.join(' '))
  await refused(/broken\.jsonl.*journal line 2: not JSON/, join(folder, 'broken.jsonl'))
  await refused(/no\.jsonl\.gz/, join(folder, 'no.jsonl.gz'))
  await refused(/line 1: not the header of a journal of version 5, which this build reads/, join(folder, 'other.jsonl'))
  await refused(/no journal/, join(folder, 'empty'))
  await refused(/ENOENT/, join(folder, 'none.jsonl'))
  await refused(/missing required argument 'journal'/)
  await refused(/must be KEY=VALUE/, interrupted, '--set', 'bargeIn')
  await refused(/allowed: .*commitMs/, interrupted, '--set', 'bargeIn.comitMs=4')
  await refused(/--set bargeIn\.commitMs: .*number/, interrupted, '--set', 'bargeIn.commitMs=soon')
  await refused(/the name is/, interrupted, '--cut', '../up')
  await refused(/number of seconds/, interrupted, '--cut', 'x', '--until', 'soon')
})
