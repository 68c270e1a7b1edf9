import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { MKONDO } from './mkondo-process.js'

const read = (file: string): string => readFileSync(join(packageRoot(), file), 'utf8')

/** `mkondo version` on a Node that gives itself this version. */
function versionOn(node: string): Promise<string> {
  const played = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${node}' } })`
  const args = ['--import', `data:text/javascript,${encodeURIComponent(played)}`, ...MKONDO, 'version']
  return new Promise((resolve) => {
    execFile(process.execPath, args, (error, out, err) => resolve(`${error?.code ?? 0} ${out}${err}`))
  })
}

t.test('too old a Node version prints one sentence', async (t) => {
  const old = ['12.22.12', '18.20.8', '20.18.3']
  for (const [index, said] of (await Promise.all(old.map(versionOn))).entries())
    t.match(
      said,
      new RegExp(`^1 mkondo: this is Node ${old[index]}, and Mkondo needs Node 20\\.19, 22 or 24; type .*\\n$`),
    )
  t.match(await versionOn('20.19.0'), /^0 \d/)
  t.match(JSON.parse(read('package.json')), {
    engines: { node: /^\^20\.19 / },
    scripts: { build: /^node -r \.\/src\/cli\/old-node\.cjs / },
  })
})

t.test('any Node can parse the first file', (t) => {
  t.notMatch(
    read('src/cli/old-node.cjs').replace(/\/\*.*\*\//, ''),
    /=>|`|\?\.|\?\?|\b(const|let|class|import|async)\b/,
  )
  const [first, ...others] = [...read('src/cli/main.ts').matchAll(/^import '(.*)'$/gm)].map(([, name]) => name)
  t.strictSame([first, others], ['./old-node.cjs', []], 'and nothing is imported beside it')
  t.end()
})
