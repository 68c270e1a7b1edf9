import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'

const manual = readFileSync(join(packageRoot(), 'docs/BACKENDS.md'), 'utf8')

t.test('each backend has a block to copy, with the variables that it needs before it', async (t) => {
  for (const [heading, key] of [
    ['OpenAI Realtime, and servers like it', 'OPENAI_API_KEY'],
    ['OpenAI Realtime, and servers like it', 'REALTIME_URL'],
    ['OpenAI GPT-Live', 'OPENAI_API_KEY'],
    ['Gemini Live', 'GEMINI_API_KEY'],
    ['Cascade', 'STT_URL'],
  ] as const) {
    const section = manual.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
    t.match(
      section,
      new RegExp(`(?:^|\\n)\`\`\`sh\\nexport ${key}=[^\`]*\`\`\`\\s+\`\`\`yaml fragment=agent\\nbackend: `),
      heading,
    )
  }
  t.match(manual, /\n## Embedded\n[^#]*```yaml fragment=agent\nbackend: embedded\n/)
})
