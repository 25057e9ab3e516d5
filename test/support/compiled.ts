import { type ChildProcess, execFile, fork } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ROOT } from './run-script.ts'

const COMPILER = join(ROOT, 'node_modules/typescript/bin/tsc')

/** Compiles files below a folder into another one; does not look at types, for which there is another command. */
export async function compile(rootDir: string, include: readonly string[], outDir: string): Promise<void> {
  const project = join(outDir, 'tsconfig.json')
  const compilerOptions = {
    rootDir,
    outDir,
    noCheck: true,
    declaration: false,
    isolatedDeclarations: false,
    sourceMap: false,
    inlineSourceMap: true,
    // Everything that is wanted is named: to read the types of the dependencies would take as long again.
    noResolve: true,
    types: []
  }
  writeFileSync(
    project,
    JSON.stringify({ extends: join(ROOT, 'tsconfig.json'), compilerOptions, include, exclude: [] })
  )
  const env = { ...process.env, NODE_V8_COVERAGE: '' }
  try {
    await promisify(execFile)(process.execPath, [COMPILER, '-p', project], { env })
  } catch (error) {
    throw new Error(`cannot be compiled: ${(error as { stdout?: string }).stdout}`, { cause: error })
  }
}

let compiling: Promise<string> | undefined

/**
 * The sources, the examples and what tests start as processes, as JavaScript in a package whose name is `kilovolt`: what users
 * run. A process that loads TypeScript takes two seconds of a processor before it does anything, one of these less than half
 * of that, and tests start more than a hundred. They are compiled when first asked for, and go with this process.
 *
 * @returns the folder, in which all stands as it does in the repository
 */
export function compiled(): Promise<string> {
  return (compiling ??= compilePackage())
}

/**
 * Starts a compiled file as a process with a channel. It counts no coverage, which slows it down and would be lost when it is
 * killed.
 */
export async function forkCompiled(file: string, args: readonly string[] = []): Promise<ChildProcess> {
  return fork(join(await compiled(), file), args, {
    execArgv: ['--enable-source-maps'],
    env: { ...process.env, NODE_V8_COVERAGE: '' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc']
  })
}

async function compilePackage(): Promise<string> {
  // Inside the repository, so that the dependencies are found.
  mkdirSync(join(ROOT, '.tmp'), { recursive: true })
  const folder = mkdtempSync(join(ROOT, '.tmp', 'compiled-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const { name, exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    name: string
    exports: Readonly<Record<string, { readonly 'kilovolt-source'?: string }>>
  }
  const modules = Object.entries(exports).flatMap(([path, { 'kilovolt-source': source }]) =>
    source === undefined ? [] : [[path, source.replace(/\.ts$/u, '.js')]]
  )
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ name, type: 'module', exports: Object.fromEntries(modules) })
  )
  const wanted = ['src', 'examples/*.ts', 'test/support/*.ts', 'test/integration/kill-storage*.ts']
  await compile(
    ROOT,
    wanted.map(path => join(ROOT, path)),
    folder
  )
  return folder
}
