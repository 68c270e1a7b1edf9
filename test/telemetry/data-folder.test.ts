import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { holdDataFolder } from '../../src/telemetry/archive/data-folder.js'

const HOLD = fileURLToPath(new URL('./hold-folder.js', import.meta.url))
const IN_USE = /^DATA_DIR is '.*', which another gateway is using; allowed: a folder of its own for each gateway$/

interface Holder {
  readonly child: ChildProcess
  /** What it said: `held`, or why not. */
  readonly said: Promise<string>
  readonly exit: Promise<void>
}

function hold(folder: string, uid?: number): Holder {
  const child = spawn(process.execPath, [HOLD, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
    ...(uid === undefined ? {} : { uid }),
  })
  t.teardown(() => child.kill('SIGKILL'))
  const said = new Promise<string>((resolve) =>
    child.stdout.once('data', (text: Buffer) => resolve(text.toString().trim())),
  )
  return { child, said, exit: new Promise((resolve) => child.once('exit', () => resolve())) }
}

/** Sockets want a short path; tap's own folders are long, which has a test of its own. */
function folderOf(t: { teardown(work: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-hold-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

t.test('a folder has one gateway at a time, and is free when that gateway is killed', async (t) => {
  const folder = folderOf(t)
  const first = hold(folder)
  t.equal(await first.said, 'held')
  t.match(await hold(folder).said, IN_USE)
  await t.rejects(holdDataFolder(folder), { code: 'CONFIG_INVALID', message: IN_USE })
  first.child.kill('SIGSTOP')
  t.match(await hold(folder).said, IN_USE, 'one that stands still has it all the same')
  first.child.kill('SIGKILL')
  await first.exit
  const next = await holdDataFolder(folder)
  t.ok(next.locked)
  t.match(await hold(folder).said, IN_USE)
  next.release()
  const last = await holdDataFolder(folder)
  t.equal(readdirSync(folder).length, 1, `nothing piles up: ${readdirSync(folder).join(' ')}`)
  last.release()
})

t.test('of gateways that start at once after a dead one, exactly one gets the folder', async (t) => {
  const folder = folderOf(t)
  for (let round = 0; round < 3; round++) {
    const starters = Array.from({ length: 6 }, () => hold(folder))
    const said = await Promise.all(starters.map((starter) => starter.said))
    t.equal(said.filter((line) => line === 'held').length, 1, said.join(' / '))
    t.equal(said.filter((line) => IN_USE.test(line)).length, 5)
    for (const { child } of starters) child.kill('SIGKILL')
    await Promise.all(starters.map(({ exit }) => exit))
  }
})

t.test('within one process too, however many try at once', async (t) => {
  const folder = folderOf(t)
  for (let round = 0; round < 20; round++) {
    const tries = await Promise.allSettled(Array.from({ length: 8 }, () => holdDataFolder(folder)))
    const held = tries.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    t.equal(held.length, 1)
    for (const one of held) one.release()
  }
})

t.test('a path that is too long for a socket, and folders that are missing', async (t) => {
  const folder = join(folderOf(t), 'x'.repeat(100), 'y'.repeat(100), 'data')
  const held = await holdDataFolder(folder)
  t.ok(held.locked)
  t.equal(statSync(folder).mode & 0o777, 0o700, 'readable by this user alone')
  await t.rejects(holdDataFolder(folder), { message: IN_USE })
  held.undo()
  t.notOk(existsSync(join(folder, '..', '..')), 'what was made only to try is taken away')
})

t.test('a folder that cannot be made or written is said in one line, and does not hang the start', async (t) => {
  const folder = folderOf(t)
  writeFileSync(join(folder, 'file'), '')
  const cases = [
    ['/proc/x', /ENOENT/],
    ['/proc/1/x/y', /E[A-Z]+/],
    [join(folder, 'file'), /ENOTDIR/],
    [join(folder, 'file', 'below'), /ENOTDIR/],
    [join(folder, 'n'.repeat(300)), /ENAMETOOLONG/],
  ] as const
  for (const [path, why] of cases) {
    const thrown = await holdDataFolder(path).then(
      () => null,
      (error: unknown) => error as Error,
    )
    t.match(
      thrown?.message,
      new RegExp(
        `^DATA_DIR is '${path}', which cannot be made or written \\(${why.source}\\); allowed: a folder that `,
      ),
    )
    t.equal((thrown as { code?: string } | null)?.code, 'CONFIG_INVALID')
  }
  const foreign = join(folder, 'foreign')
  mkdirSync(foreign)
  chmodSync(foreign, 0o555)
  chmodSync(folder, 0o755)
  const user = process.getuid?.() === 0 ? 65_534 : undefined // the superuser may write anywhere
  const closed = join(folder, 'closed')
  mkdirSync(closed)
  chmodSync(closed, 0o000)
  for (const path of [foreign, join(foreign, 'below'), closed, join(closed, 'below')])
    t.match(await hold(path, user).said, /^DATA_DIR is '.*', which cannot be made or written \(EACCES\)/)
})
