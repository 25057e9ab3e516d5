import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Compiles a checkout's sources and the benches in it into a folder, as a package of which `kilovolt` is the name: what is
 * measured is what users run, without a loader. Types are not checked: there is another command for that.
 *
 * @returns the compiled suite
 */
export function build(checkout: string, folder: string): string {
  mkdirSync(folder, { recursive: true })
  symlinkSync(join(checkout, 'node_modules'), join(folder, 'node_modules'), 'dir')
  const project = join(folder, 'tsconfig.json')
  const bench = join(checkout, 'test/bench')
  writeFileSync(
    project,
    JSON.stringify({
      extends: join(checkout, 'tsconfig.json'),
      compilerOptions: {
        rootDir: checkout,
        outDir: folder,
        noCheck: true,
        declaration: false,
        isolatedDeclarations: false,
        sourceMap: false,
        customConditions: ['kilovolt-source']
      },
      files: [
        join(checkout, 'src/index.ts'),
        ...['suite', 'bench-child', 'memory-child', 'start-up-child', 'moving-child'].map(name =>
          join(bench, `${name}.ts`)
        )
      ],
      include: []
    })
  )
  const compiler = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url))
  execFileSync(process.execPath, [compiler, '-p', project], { stdio: ['ignore', 'inherit', 'inherit'] })
  for (const name of readdirSync(bench)) {
    if (name.endsWith('.mjs')) copyFileSync(join(bench, name), join(folder, 'test/bench', name))
  }
  const exports = { '.': './src/index.js' }
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'kilovolt', type: 'module', exports }))
  return join(folder, 'test/bench/suite.js')
}
