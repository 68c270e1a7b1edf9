import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'

interface Locked {
  readonly version?: string
  readonly name?: string
  readonly resolved?: string
  readonly integrity?: string
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const read = (file: string): unknown => JSON.parse(readFileSync(join(packageRoot(), file), 'utf8'))
const { packages } = read('package-lock.json') as { readonly packages: Readonly<Record<string, Locked>> }
const { dependencies, optionalDependencies } = read('package.json') as Required<
  Pick<Locked, 'dependencies' | 'optionalDependencies'>
>

t.test('what Mkondo needs has one exact version, in package.json and in the lock file', (t) => {
  t.match(packages[''], { dependencies, optionalDependencies })
  for (const [name, wanted] of Object.entries({ ...dependencies, ...optionalDependencies })) {
    const { name: alias, version = '' } = packages[`node_modules/${name}`] ?? {}
    t.equal(wanted, alias === undefined ? version : `npm:${alias}@${version}`, name)
  }
  t.end()
})

t.test('the lock file has a checksum of each package, and no host', (t) => {
  const others = Object.entries(packages).filter(([path]) => path !== '')
  t.ok(others.length > 100)
  t.same(
    others.filter(([, { integrity, resolved }]) => integrity === undefined || resolved !== undefined),
    [],
  )
  t.end()
})
