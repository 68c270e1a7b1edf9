import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { TEMPLATES } from '../../src/cli/init.js'

// Five templates, a process for each command.
t.setTimeout(300_000)

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

/** The command in a folder, with nothing of our own environment but what a shell has. */
function mkondo(cwd: string, ...args: string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const env = { PATH: process.env['PATH'] ?? '' }
    execFile(process.execPath, [MAIN, ...args], { cwd, env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr })
    })
  })
}

t.test('in the folder of each template check and simulate pass at once, with no variable set', async (t) => {
  const folder = t.testdir()
  for (const template of Object.keys(TEMPLATES)) {
    const name = `line-${template}`
    t.equal((await mkondo(folder, 'init', name, '--template', template)).code, 0)
    const made = join(folder, name)
    const check = await mkondo(made, 'check')
    t.equal(check.code, 0, check.output)
    t.match(check.output, new RegExp(`ok +agents: ${name} on embedded`))
    const simulated = await mkondo(made, 'simulate')
    t.equal(simulated.code, 0, simulated.output)
    t.match(simulated.output, new RegExp(`ok +${name}/first-call text[^]*\\d passed`))
  }
})
