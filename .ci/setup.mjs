// Makes a fresh clone ready: installs the locked dependencies when they are missing or older than the lockfile.
// Plain JavaScript without dependencies, since it runs before anything is installed.
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const installed = `${root}node_modules/.package-lock.json`
const lock = `${root}package-lock.json`

if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(lock).mtimeMs) {
  console.error('kilovolt: installing the locked dependencies (once)…')
  const npm = process.env.npm_execpath
  // Not `npm ci`: it insists on entries for the optional binaries of every platform, which npm itself leaves out of the
  // lockfile on another one. What is locked is installed as locked all the same, and the lockfile stays as it is.
  const command = npm === undefined ? ['npm', 'install'] : [process.execPath, npm, 'install']
  const args = [...command.slice(1), '--no-save', '--no-audit', '--no-fund', '--loglevel=error']
  const { status, error } = spawnSync(command[0], args, { cwd: root, stdio: ['ignore', 2, 2] })
  if (error !== undefined) throw error
  if (status !== 0) process.exit(status ?? 1)
}
