import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { loadAgents } from '../../src/agents/file/loader.js'
import { offlineSpeech } from '../../src/backends/embedded/offline-speech.js'
import { TEMPLATES } from '../../src/cli/init.js'
import { packageRoot, packageVersion } from '../../src/config/package-root.js'
import { findScenarios } from '../../src/simulator/scenarios/scenario.js'
import { command } from '../support/command.js'

/** Scenarios that only some templates have. */
const MORE: Partial<Record<keyof typeof TEMPLATES, readonly string[]>> = {
  appointments: ['judged-by-a-model', 'reminder', 'saa-ya-pili', 'second-of-two-times', 'ukumbusho'],
  receptionist: ['judged-by-a-model'],
}

t.test('each template makes an agent that passes check and simulate', async (t) => {
  const folder = t.testdir()
  for (const template of Object.keys(TEMPLATES)) {
    const made = join(folder, `my-${template}`)
    const { code, out, err } = await command(['init', made, '--template', template])
    t.equal(code, 0, err)
    const { agents } = await loadAgents(join(made, 'agents'), {}, offlineSpeech)
    t.match(agents.get(`my-${template}`), { languages: ['en', 'sw'], backend: 'auto', offline: {} }, template)
    const found = await findScenarios([join(made, 'scenarios')])
    t.same([...new Set(found.map(({ agent }) => agent))], [`my-${template}`])
    t.same(
      found.map(({ name }) => name).sort(),
      ['first-call', 'simu-ya-kwanza', ...(MORE[template as keyof typeof MORE] ?? [])].sort(),
    )
    for (const file of ['mkondo.yaml', '.env.example', '.gitignore', 'package.json', 'README.md']) {
      t.ok(existsSync(join(made, file)), file)
      t.match(out, file)
    }
    t.notMatch(readFileSync(join(made, 'agents', `my-${template}.yaml`), 'utf8'), /SCHEMA/)
    const [agentsDir, dataDir] = [join(made, 'agents'), join(made, 'data')]
    const env = { PORT: '0', OPS_PORT: '0', AGENTS_DIR: agentsDir, DATA_DIR: dataDir }
    const check = await command(['check'], { env })
    t.match(check, { code: 0, out: new RegExp(`ok +agents: my-${template} on embedded`) })
    const simulated = await command(['simulate', join(made, 'scenarios'), '--agents', agentsDir])
    t.match(simulated, { code: 0, out: new RegExp(`ok +my-${template}/first-call text[^]*\\d passed`) })
  }
})

t.test('the new folder runs this copy of mkondo', async (t) => {
  const made = join(t.testdir(), 'my-line')
  const { code, out } = await command(['init', made, '--yes'])
  t.equal(code, 0)
  t.match(out, /To hear a call later, set recording\.enabled in agents\/my-line\.yaml before the call/)
  const { dependencies } = JSON.parse(readFileSync(join(made, 'package.json'), 'utf8')) as {
    dependencies: { mkondo: string }
  }
  t.equal(realpathSync(join(made, dependencies.mkondo.replace(/^file:/, ''))), realpathSync(packageRoot()))
  const ran = spawnSync('npx', ['--no', 'mkondo', 'version'], { cwd: made, encoding: 'utf8' })
  t.equal(ran.stdout.trim(), packageVersion(), ran.stderr)
})

t.test('the appointment template keeps only the newest bookings', async (t) => {
  const { bookSlot, freeTimes } = (await import(
    pathToFileURL(join(packageRoot(), 'templates/appointments/tools.mjs')).href
  )) as {
    bookSlot: { run(args: { date: string; time: string }): { booked: boolean } }
    freeTimes: { run(args: { date: string }): { first: string | null } }
  }
  const monday = (week: number) => new Date(Date.UTC(2026, 10, 23 + 7 * week)).toISOString().slice(0, 10)
  const weeks = Array.from({ length: 1001 }, (_, week) => week)
  t.ok(weeks.every((week) => bookSlot.run({ date: monday(week), time: '09:00' }).booked))
  t.equal(freeTimes.run({ date: monday(1) }).first, '14:00')
  t.equal(freeTimes.run({ date: monday(1000) }).first, '14:00')
  t.equal(freeTimes.run({ date: monday(0) }).first, '09:00', 'the oldest booking made room')
})

t.test('init takes options or asks questions on a terminal', async (t) => {
  const folder = t.testdir()
  const asked: string[] = []
  const said = ['support', 'klingon', 'sw', 'cascade', 'http']
  const ask = (question: string): Promise<string> => {
    asked.push(question)
    return Promise.resolve(said.shift() ?? '')
  }
  const { code, out } = await command(['init', join(folder, 'msaada')], { ask })
  t.equal(code, 0)
  t.match(
    asked.map((question) => question.split(' ')[0]),
    ['Template', 'Language', 'Language', 'Backend', 'Tools:'],
  )
  t.match(out, /Allowed: a code such as en, sw or en-KE/)
  t.match(out, /how to switch to cascade/)
  const yaml = readFileSync(join(folder, 'msaada', 'agents', 'msaada.yaml'), 'utf8')
  t.match(yaml, /^languages: \[sw, en\]$/m, "the template's other languages stay")
  t.match(
    readFileSync(join(folder, 'msaada', '.env.example'), 'utf8'),
    /^AUTO_BACKEND=cascade\n[^]*# STT_URL=\n[^]*# LLM_URL=\n[^]*# TTS_URL=\n/m,
  )
  const { agents } = await loadAgents(join(folder, 'msaada', 'agents'), {}, offlineSpeech)
  t.same(
    agents.get('msaada')?.tools.map(({ name }) => name),
    ['get_item'],
    'tools in code stay',
  )

  await command(['init', join(folder, 'simu'), '--language', 'en-KE', '--template', 'survey', '--yes'], { ask })
  t.equal(asked.length, 5, 'with --yes nothing is asked')
  t.match(readFileSync(join(folder, 'simu', 'agents', 'simu.yaml'), 'utf8'), /^languages: \[en-KE, sw\]$/m)
})

t.test('a wrong name or option overwrites nothing', async (t) => {
  const folder = t.testdir({ taken: { 'a.txt': '' } })
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [['init'], /missing required argument 'name'/],
    [
      ['init', join(folder, 'Not A Name')],
      /the folder's name is 'Not A Name'; allowed, as the name of an agent: 1 to 40 characters of/,
    ],
    [['init', join(folder, 'taken')], /taken exists and is not empty/],
    [
      ['init', join(folder, 'x'), '--template', 'pizza'],
      /--template is "pizza"; allowed: one of order-status, support/,
    ],
    [['init', join(folder, 'x'), '--backend', 'gpt'], /--backend is "gpt"; allowed: one of embedded, openai/],
    [['init', join(folder, 'x'), '--language', 'English'], /the language is "English"; allowed: a code/],
  ]
  for (const [argv, expected] of wrong) {
    const { code, out, err } = await command(argv)
    t.equal(code, 2, argv.join(' '))
    t.match(err, expected)
    t.equal(err.split('\n').length, 2, 'one line')
    t.equal(out, '')
  }
  t.notOk(existsSync(join(folder, 'x')))
})
