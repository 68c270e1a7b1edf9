import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { loadText } from '../support/agent-text.js'

const manual = readFileSync(join(packageRoot(), 'docs/BACKENDS.md'), 'utf8')

t.test('each block that docs/BACKENDS.md gives to copy is an agent that loads', async (t) => {
  const blocks = [...manual.matchAll(/^```yaml\n(backend: .*?)^```$/gms)].map(([, block = '']) => block)
  t.ok(blocks.length >= 3, `${blocks.length} blocks`)
  for (const block of blocks) {
    // A module has to be there; a package is looked for at the start of a call only.
    const found = block.replaceAll('module:./mine.mjs', 'module:mine')
    const loaded = await loadText(`version: 1\nname: copied\ninstructions: Be brief.\n${found}`, {})
    t.notOk(Array.isArray(loaded), Array.isArray(loaded) ? loaded.join('; ') : (block.split('\n')[0] ?? ''))
  }
})

t.test('each backend has one, with the variables that it needs before it', async (t) => {
  for (const [heading, key] of [
    ['OpenAI Realtime, and servers like it', 'OPENAI_API_KEY'],
    ['OpenAI Realtime, and servers like it', 'REALTIME_URL'],
    ['OpenAI GPT-Live', 'OPENAI_API_KEY'],
    ['Gemini Live', 'GEMINI_API_KEY'],
    ['Cascade', 'STT_URL'],
  ] as const) {
    const section = manual.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
    t.match(section, new RegExp(`(?:^|\\n)\`\`\`sh\\nexport ${key}=[^\`]*\`\`\`\\s+\`\`\`yaml\\nbackend: `), heading)
  }
  t.match(manual, /\n## Embedded\n[^#]*```yaml\nbackend: embedded\n/)
})
