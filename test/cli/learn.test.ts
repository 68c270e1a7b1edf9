import { existsSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import type { Test } from 'tap'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { readLearnedTurns } from '../../src/call/documents/learned-turns.js'
import { packageRoot } from '../../src/config/package-root.js'
import { Rig } from '../call/rig.js'
import { command } from '../support/command.js'

/** Callers of a folder; a quarter of them judges. */
const CALLERS = 60

/** A call in which the caller pauses in each sentence, and ends it with a falling pitch. */
function journalOf(pauseMs: number): string {
  const rig = Rig.talking({ speech: { ...DEFAULT_CALL_OPTIONS.speech, words: null } })
  for (let turn = 0; turn < 6; turn++) {
    // Held at one pitch it would be waited for longer.
    for (let i = 0; i < 40; i++) rig.speak(20, { pitchHz: i % 2 === 0 ? 130 : 150 })
    rig.run(pauseMs)
    for (let i = 0; i < 20; i++) rig.speak(20, { pitchHz: i % 2 === 0 ? 130 : 150 })
    for (let hz = 140; hz > 90; hz -= 2) rig.speak(20, { pitchHz: hz })
    rig.run(1000)
    rig.answer(turn + 2, `a${turn}`, 600)
    rig.run(2600)
  }
  rig.writer.flush()
  return `${rig.journal.join('\n')}\n`
}

/** Of an earlier build: its options lack what later ones have. */
const EARLIER = gunzipSync(
  readFileSync(join(packageRoot(), 'test', 'journals', 'caller-interrupts.jsonl.gz')),
).toString()

interface Call {
  readonly callSid: string
  readonly consent?: string | null
  readonly journal: string
}

/** A data folder with the journals and records of these calls. */
function folderOf(t: Test, calls: readonly Call[]): string {
  const folder = t.testdir()
  mkdirSync(join(folder, 'data', 'journals', '7d'), { recursive: true })
  mkdirSync(join(folder, 'data', 'records'))
  for (const { callSid, journal } of calls) writeFileSync(join(folder, 'data', 'journals', `${callSid}.jsonl`), journal)
  const records = calls.flatMap(({ callSid, consent }, i) =>
    consent === undefined ? [] : [JSON.stringify({ callSid, consent, direction: 'inbound', from: `+2547…${i}` })],
  )
  writeFileSync(join(folder, 'data', 'records', 'calls-2026-11-29-0001.jsonl'), `${records.join('\n')}\n`)
  return folder
}

const told = (journal: string, count = CALLERS): Call[] =>
  Array.from({ length: count }, (_, i) => ({ callSid: `HD_${i}`, consent: 'told', journal }))

const learn = (folder: string, ...argv: readonly string[]) =>
  command(['learn', join(folder, 'data'), '--out', join(folder, 'learned.json'), ...argv])

t.test('learn writes a model and reports its effect', async (t) => {
  const folder = folderOf(t, told(journalOf(800)))
  const { code, out, err } = await learn(folder)
  t.equal(code, 0, err)
  t.match(out, /^\d+ pauses, \d+ ends +pauses cut +ends after 700 ms +beyond it +median +p90\nrules .*\nlearned /)
  t.match(out, /60 calls were read\n/)
  const text = readFileSync(join(folder, 'learned.json'), 'utf8')
  const { made, heldOut, model } = readLearnedTurns(text, ['en'])
  t.equal(made.groups + heldOut.groups, CALLERS)
  t.equal(heldOut.before.cut, 1, 'the rules cut every pause')
  t.equal(heldOut.after.cut, 0)
  t.ok(model.steps.length > 0)
  t.notMatch(text, /HD_|\+254|Some words/, 'the file has no caller data')
})

t.test('a model no better than the rules is refused', async (t) => {
  const folder = folderOf(t, told(journalOf(400)))
  const { code, out, err } = await learn(folder)
  t.equal(code, 1)
  t.equal(out, '')
  t.match(err, /^mkondo learn: the rules stay: it would .*; nothing is written\n60 calls were read\n/)
  t.notOk(existsSync(join(folder, 'learned.json')))
})

t.test('calls without consent, record or valid journal are left out', async (t) => {
  const journal = journalOf(800)
  const folder = folderOf(t, [
    ...told(journal),
    { callSid: 'HD_refused', consent: 'refused', journal },
    { callSid: 'HD_cut', consent: 'not-told', journal },
    { callSid: 'HD_silent', consent: null, journal },
    { callSid: 'HD_lost', journal },
    { callSid: 'HD_old', consent: 'told', journal },
    { callSid: 'HD_damaged', consent: 'told', journal: 'no journal\n' },
    { callSid: 'HD_earlier', consent: 'told', journal: EARLIER },
  ])
  const old = new Date(Date.now() - 40 * 86_400_000)
  utimesSync(join(folder, 'data', 'journals', 'HD_old.jsonl'), old, old)
  const { out } = await learn(folder, '--json')
  t.match(JSON.parse(out) as object, {
    read: CALLERS + 1,
    leftOut: {
      'its caller said no': 1,
      'its caller did not hear the notice to its end': 1,
      'nothing was said about recording (see --unannounced)': 1,
      'no record says whether its caller was told': 1,
      'older than its retention': 1,
      'a journal that this build cannot read': 1,
    },
  })
  const { read } = JSON.parse((await learn(folder, '--json', '--unannounced')).out) as { read: number }
  t.equal(read, CALLERS + 2)
})

t.test('learning from too few calls is refused', async (t) => {
  const folder = folderOf(t, told(journalOf(800), 3))
  t.match(await learn(folder), {
    code: 1,
    err: /too few calls: \d+ pauses and \d+ ends of turns .* at least \d+ of each/,
  })
  t.match(await learn(folder, '--agent', 'nobody'), { code: 1, err: / 3: of another agent\n/ })
})

t.test('a missing data folder is an error', async (t) => {
  t.match(await learn(t.testdir()), { code: 2, err: /learn: .*data: ENOENT/ })
})

t.test('--shipped writes the shipped model', async (t) => {
  const folder = t.testdir()
  const out = join(folder, 'learned.json')
  t.match(await command(['learn', '--shipped', '--out', out]), { code: 0 })
  const { heldOut } = readLearnedTurns(readFileSync(out, 'utf8'), ['en', 'fr'])
  t.ok(heldOut.after.cut < heldOut.before.cut, 'it cuts fewer pauses than the rules')
  t.match(await command(['learn', folder, '--shipped', '--out', out]), { code: 2, err: /--shipped learns nothing/ })
})
