// Installs the Debian packages that tests need. If it cannot, it prints a message; the tests that need a missing package
// skip themselves with a message.
import { spawnSync } from 'node:child_process'

/** Packages of the tests of `.ci/run`. */
export const GATE_PACKAGES = [
  ...['haproxy', 'nginx-light', 'systemd', 'prometheus', 'redis-server', 'iproute2', 'procps', 'ffmpeg', 'multimon-ng'],
  ...['faketime', 'chromium', 'zsh', 'fish', 'fluidsynth', 'timgm6mb-soundfont', 'singularity-music', 'pingus-data'],
  ...['ktuberling-data', 'fillets-ng-data-nl', 'asterisk-moh-opsound-g722', 'asterisk-moh-opsound-wav'],
  ...['en', 'fr', 'it'].flatMap((language) =>
    ['g722', 'wav'].map((format) => `asterisk-core-sounds-${language}-${format}`),
  ),
]
/** Further packages of `.ci/more phones` and `.ci/more firefox`. */
export const PHONE_PACKAGES = ['mmdebstrap', 'baresip-core', 'sip-tester', 'linphone-cli']
export const FIREFOX_PACKAGES = ['firefox-esr']

const APT = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, encoding: 'utf8' }

function isInstalled(name) {
  const { stdout } = spawnSync('dpkg-query', ['-W', '-f', '${db:Status-Status}', name], { encoding: 'utf8' })
  return stdout === 'installed'
}

/** Installs missing packages, if this process may. */
export function installPackages(names) {
  const missing = names.filter((name) => !isInstalled(name))
  if (missing.length === 0) return
  console.log(`--- installing Debian packages: ${missing.join(' ')}`)
  spawnSync('apt-get', ['update', '-qq'], APT)
  const install = ['install', '-y', '-qq', '--no-install-recommends', ...missing]
  const { status, stderr, error } = spawnSync('apt-get', install, APT)
  if (status !== 0) console.log(`not installed, their tests are skipped: ${error?.message ?? stderr}`)
}
