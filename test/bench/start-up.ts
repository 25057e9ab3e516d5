import { fork } from 'node:child_process'
import { once } from 'node:events'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { median } from './measure.ts'
import type { Report } from './report.ts'
import type { StartUp } from './start-up-child.ts'
import { figure } from './table.ts'

const STEPS = [
  ['process', 'Node.js itself, until its first line runs'],
  ['import', "import('kilovolt')"],
  ['create', 'createNode(), a cluster of one'],
  ['put', 'the first put'],
  ['get', 'the first get']
] as const satisfies readonly (readonly [keyof StartUp, string])[]

/** What it takes from nothing to the first answer, each time in a new process, with all files in the cache of the system. */
export async function benchStartUp(rounds: number): Promise<Report> {
  await startUp()
  const seen: StartUp[] = []
  for (let i = 0; i < rounds; i++) seen.push(await startUp())
  const rows = STEPS.map(([step, name]) => {
    const values = seen.map(each => each[step])
    return [name, figure(median(values)), `${figure(Math.min(...values))} … ${figure(Math.max(...values))}`]
  })
  const figures = Object.fromEntries(STEPS.map(([step, name]) => [`${name}, ms`, median(seen.map(each => each[step]))]))
  return { sections: [{ name: 'start-up', head: ['start-up', 'median, ms', 'range'], rows }], figures }
}

async function startUp(): Promise<StartUp> {
  const file = fileURLToPath(new URL(`start-up-child${extname(import.meta.url)}`, import.meta.url))
  const child = fork(file)
  const [seen] = (await once(child, 'message')) as [StartUp]
  child.disconnect()
  return seen
}
