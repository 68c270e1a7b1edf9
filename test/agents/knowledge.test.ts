import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { loadAssets, passagesOf } from '../../src/agents/file/assets.js'
import { agentSchema } from '../../src/agents/file/definition.js'
import { KNOWLEDGE_RESULTS_MAX, KnowledgeIndex } from '../../src/agents/tools/knowledge.js'
import { KNOWLEDGE_PASSAGE_CHARS_MAX, parseKnowledge, type Passage } from '../../src/agents/file/knowledge-file.js'
import { readAgents } from '../../src/agents/file/loader.js'
import { packageRoot } from '../../src/config/package-root.js'
import { contextOf, openLine } from './support-line.js'
import { anyText } from '../support/any-text.js'

const passages = parseKnowledge(readFileSync(join(packageRoot(), 'agents/knowledge/support.md'), 'utf8'), 'markdown', [
  'en',
  'sw',
])
const index = await KnowledgeIndex.of(passages)

t.test("a question in the caller's words finds its passage", async (t) => {
  const wanted: [string, string][] = [
    ['are you open on Sunday?', 'Opening hours'],
    ['can I use mpesa', 'How to pay a bill'],
    ['paying bills', 'How to pay a bill'],
    ['I would like a faster package', 'Change the plan'],
    ['what does the red light on my router mean?', 'The lights on the router'],
    ['I forgot the password of my wifi', 'Forgotten wifi password'],
    ['why did you cut me off', 'The account was suspended'],
    ['money was taken twice, I want a refund', 'Refunds'],
    ['how do I terminate my contract', 'Ending the contract'],
    ['opning hours', 'Opening hours'],
    ['we are relocating to another house', 'Moving house'],
  ]
  for (const [query, title] of wanted) t.equal(index.search(query)[0]?.title, title, query)
})

t.test("Swahili questions find passages in the call's language", async (t) => {
  const wanted: [string, string][] = [
    ['mnafungua saa ngapi', 'Opening hours'],
    ['vifurushi vyenu ni bei gani', 'Plans and prices'],
    ['nalipaje bili yangu', 'How to pay a bill'],
    ['naomba kubadilisha package yangu', 'Change the plan'],
    ['nimesahau password ya wifi', 'Forgotten wifi password'],
    ['nataka kurudishiwa pesa yangu', 'Refunds'],
    ['taa nyekundu kwa router inamaanisha nini', 'The lights on the router'],
    ['mbona mmenikatia internet', 'The account was suspended'],
  ]
  for (const [query, title] of wanted) t.equal(index.search(query)[0]?.title, title, query)
  t.match(index.search('opening hours', 'sw-KE')[0]?.text, /^Laini yetu .* saa tatu usiku\.$/)
  t.match(index.search('opening hours', 'en')[0]?.text, /^Our support line .* in the evening\.$/)
  t.match(
    index.search('opening hours', 'fr')[0]?.text,
    /^Our support line/,
    "the first language if the call's is missing",
  )
})

t.test('a passage has texts in several languages', (t) => {
  const markdown = '## Hours\nalso: saa\nFrom nine.\nOn weekdays.\nsw: Kuanzia saa tatu.\nSiku za kazi.\n'
  t.same(parseKnowledge(markdown, 'markdown', ['en', 'sw-KE']), [
    { title: 'Hours', also: ['saa'], text: { en: 'From nine.\nOn weekdays.', sw: 'Kuanzia saa tatu.\nSiku za kazi.' } },
  ])
  t.match(
    parseKnowledge(markdown, 'markdown', ['fr'])[0]?.text,
    { fr: /^From nine/, sw: /^Kuanzia/ },
    'a language that the agent does not speak is kept too',
  )
  t.throws(() => parseKnowledge('## Hours\nFrom nine.\nsw: \n', 'markdown', ['en', 'sw']), /"Hours" has no text in sw/)
  const yaml = '- { title: Hours, text: { en: From nine., sw: Kuanzia saa tatu. } }'
  t.same(parseKnowledge(yaml, 'yaml')[0]?.text, { en: 'From nine.', sw: 'Kuanzia saa tatu.' })
  t.throws(() => parseKnowledge('- { title: Hours, text: { english: x } }', 'yaml'), /one for each language/)
  t.end()
})

t.test('a question without an answer finds nothing', async (t) => {
  for (const query of ['quantum chromodynamics', '', '   ', '?!', 'the the the']) t.same(index.search(query), [], query)
})

t.test('any query gives a bounded number of results', async (t) => {
  t.ok(index.search('internet router wifi bill plan account').length <= KNOWLEDGE_RESULTS_MAX)
  fc.assert(fc.property(anyText(2000), (query) => index.search(query).length <= KNOWLEDGE_RESULTS_MAX))
})

t.test('only agents with knowledge have the search tool', async (t) => {
  const line = await openLine('support')
  t.teardown(() => line.close())
  t.match(await line.tools.run('search_knowledge', { query: 'opening hours' }, contextOf('')), {
    ok: true,
    value: { found: true, passages: [{ title: 'Opening hours', text: /7 in the morning/ }] },
  })
  t.match(await line.tools.run('search_knowledge', { query: 'elephants' }, contextOf('')), {
    ok: true,
    value: { found: false, passages: [] },
  })
  t.match(await line.tools.run('search_knowledge', {}, contextOf('')), { ok: false, code: 'TOOL_ARGUMENTS' })
  const orders = await openLine('order-status')
  t.teardown(() => orders.close())
  t.notOk(orders.tools.has('search_knowledge'))
})

t.test('knowledge is read as YAML, and mistakes name their line', async (t) => {
  t.same(parseKnowledge('- title: A\n  also: [b]\n  text: c\n', 'yaml'), [{ title: 'A', also: ['b'], text: 'c' }])
  t.throws(() => parseKnowledge('- title: A\n', 'yaml'), { message: /^passage 1: text/ })
  t.throws(() => parseKnowledge('# Only a title\n', 'markdown'), {
    message: /has no passage; each begins with a line "## Title"/,
  })
  t.throws(() => parseKnowledge('## A\n\n## B\ntext\n', 'markdown'), { message: /^line 1: "A" has no text$/ })
  t.throws(() => parseKnowledge(`## A\n${'x'.repeat(KNOWLEDGE_PASSAGE_CHARS_MAX + 1)}\n`, 'markdown'), {
    message: /^line 1: "A" has 1201 characters; at most 1200/,
  })
  t.same(parseKnowledge('intro\n## A ##\nalso: x, y\nOne.\n\nTwo.\n', 'markdown'), [
    { title: 'A', also: ['x', 'y'], text: 'One.\nTwo.' },
  ])
})

t.test('an unreadable knowledge file loses only its own passages [1]', async (t) => {
  const yaml = `version: 1
name: a
instructions: Help.
knowledge: [good.md, broken.md, nowhere.md]
facts: { found: { from: search_knowledge } }
stages: { only: { instructions: Help., tools: [search_knowledge], final: true } }
`
  const load = async (files: Record<string, string | Buffer>) => {
    const [read] = await readAgents(t.testdir({ 'a.yaml': yaml, ...files }), {})
    if (read?.ok !== true) throw new Error(`the agent was refused: ${JSON.stringify(read)}`)
    return { passages: passagesOf(read.assets).map(({ title }) => title), faults: read.faults.map(({ what }) => what) }
  }
  const { passages, faults } = await load({ 'good.md': '## Hours\nNine to five.\n', 'broken.md': 'no heading' })
  t.same(passages, ['Hours'])
  t.match(faults, [
    /knowledge\[1\]: broken\.md: has no passage.*; its passages are not found/,
    /knowledge\[2\]: nowhere\.md: cannot be read.*; its passages are not found/,
  ])
  const none = await load({})
  t.same(none.passages, [], 'the tool exists without passages')
  t.equal(none.faults.length, 3)
  const latin = await load({ 'good.md': Buffer.from('## Caf\xe9\nDe neuf \xe0 cinq.\n', 'latin1') })
  t.same(latin.passages, ['Café'])
})

const WORDS = ['mkopo', 'delivery', 'prépayé', 'ክፍያ', 'refund', 'branch', 'invoice', 'sim-card', 'loan', 'paybill']
const passage = (i: number, chars: number): Passage => ({
  title: `Topic ${i}`,
  also: [`${WORDS[i % WORDS.length] ?? ''} ${i}`],
  text: Array.from({ length: Math.ceil(chars / 8) }, (_, j) => `w${(i * 31 + j * 7) % 5000}`).join(' '),
})

/** Turns of the event loop in which other calls of the worker could run while the index was built. */
async function turnsWhile<T>(work: Promise<T>): Promise<{ readonly turns: number; readonly result: T }> {
  let turns = 0
  let over = false
  const count = (): void => {
    turns++
    if (!over) setImmediate(count)
  }
  setImmediate(count)
  const result = await work
  over = true
  return { turns, result }
}

t.test('indexing knowledge does not block the worker', async (t) => {
  const shapes: readonly (readonly [name: string, passages: number, chars: number])[] = [
    ['many short passages', 2000, 40],
    ['few long ones', 60, 1200],
    ['300 KB', 300, 1000],
    ['one passage', 1, 1200],
    ['none', 0, 0],
    ['one more than a slice', 9, 100],
  ]
  for (const [name, count, chars] of shapes) {
    const passages = Array.from({ length: count }, (_, i) => passage(i, chars))
    const { turns, result } = await turnsWhile(KnowledgeIndex.of(passages))
    t.ok(turns >= Math.floor(count / 8) - 1, `${name}: ${turns} turns`)
    if (count > 0)
      t.equal(result.search(`Topic ${count - 1}`)[0]?.title, `Topic ${count - 1}`, `${name}: the last is found`)
    else t.same(result.search('anything'), [])
  }
})

for (const asked of ['ngombe', "ng'ombe", 'ng’ombe', 'ng‘ombe', 'ngʼombe', 'ng´ombe', 'ng`ombe', 'NG’OMBE', 'ng＇ombe'])
  for (const written of ["ng'ombe", 'ng’ombe', 'ngombe'])
    t.test(`apostrophes are normalised: ${asked} finds ${written}`, async (t) => {
      const index = await KnowledgeIndex.of([
        { title: `Dawa ya ${written}`, also: [], text: 'Inapatikana dukani.' },
        { title: 'Chakula cha kuku', also: [], text: 'Ombe ni neno lingine, na ng ni herufi.' },
      ])
      t.same(
        index.search(`dawa za ${asked}`).map(({ title }) => title),
        [`Dawa ya ${written}`],
      )
      t.same(
        index.search(asked).map(({ title }) => title),
        [`Dawa ya ${written}`],
      )
    })

t.test('quotation marks around a word are ignored', async (t) => {
  const index = await KnowledgeIndex.of([{ title: "The 'bonus' and the customers' day", also: [], text: 'On Friday.' }])
  for (const asked of ['bonus', '‘bonus’', "customers'", 'customer’s']) t.equal(index.search(asked).length, 1, asked)
})

t.test('a passage that YAML cuts at a # is reported', async (t) => {
  const dir = t.testdir({ 'k.yaml': '- title: Menu\n  text: Press # to begin\n' })
  const agent = agentSchema.parse({ version: 1, name: 'a', instructions: 'Help.', knowledge: ['k.yaml'] })
  const loaded = await loadAssets(agent, dir, null, {})
  t.match(loaded, {
    ok: true,
    faults: [{ path: ['knowledge', 0], spared: true, what: /^k\.yaml: line 2: \[0\]\.text ends before the #/ }],
  })
})
