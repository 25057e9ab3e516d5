// Runs scripts of package.json side by side: `node .ci/beside.mjs test:covered test:sim`. The first has the terminal and the machine;
// the others, one after the other, take what it leaves of the processors, and what they say is shown when it has ended.
// Fails when one of them does, after all have run. Plain JavaScript without dependencies, as all that sets up and checks.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The least weight there is: some of the tests in front measure time. */
const NICENESS = '19'

const root = fileURLToPath(new URL('..', import.meta.url))
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const running = new Set()
const failed = []
let interrupted

/** Starts a script as npm does, but without npm in between. */
function start(name, prefix, options) {
  const script = scripts[name]
  // A shell that waits would keep signals for itself.
  const line = /&&|[;|]/u.test(script) ? script : `exec ${script}`
  const [command, ...args] = [...prefix, 'sh', '-c', line]
  const child = spawn(command, args, {
    cwd: root,
    ...options,
    env: { ...process.env, PATH: join(root, 'node_modules/.bin') + delimiter + process.env.PATH, ...options.env }
  })
  running.add(child)
  const ended = new Promise(resolve => {
    child.on('error', error => resolve(error.message))
    child.on('close', (code, signal) => resolve(signal ?? code))
  }).then(status => {
    running.delete(child)
    if (status !== 0) failed.push(`${name} (${status})`)
  })
  return { child, ended }
}

/** Keeps what a script says until it may be shown, then shows the rest as it comes. */
function startBehind(name, shown) {
  const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined ? { FORCE_COLOR: '1' } : {}
  const { child, ended } = start(name, ['nice', '-n', NICENESS], { stdio: ['ignore', 'pipe', 'pipe'], env: colour })
  const kept = []
  let write = text => kept.push(text)
  for (const [from, to] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr]
  ]) {
    from.on('data', bytes => write([to, bytes]))
  }
  void shown.then(() => {
    write = ([to, bytes]) => to.write(bytes)
    for (const one of kept.splice(0)) write(one)
  })
  return ended
}

// SIGINT in any case: it is what mocha hands on to the process that runs the tests.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    interrupted ??= signal
    for (const child of running) child.kill('SIGINT')
  })
}

const [first, ...others] = process.argv.slice(2)
for (const name of [first, ...others]) {
  if (scripts[name] === undefined) throw new Error(`package.json has no script "${name}"`)
}
const { ended: shown } = start(first, [], { stdio: 'inherit' })
for (const name of others) {
  if (interrupted === undefined) await startBehind(name, shown)
}
await shown
if (failed.length > 0) console.error(`failed: ${failed.join(', ')}`)
process.exitCode = interrupted !== undefined ? 128 + constants.signals[interrupted] : failed.length > 0 ? 1 : 0
