// The parts of the bench. Runs compiled, with the sources beside it compiled as well; `main.ts` sees to that.
import { writeFileSync } from 'node:fs'
import { type BenchArguments, parseArguments } from './arguments.ts'
import { benchCache } from './cache.ts'
import { compact, crossed } from './cell.ts'
import { benchCompression } from './compression.ts'
import { benchControlPlane } from './control-plane.ts'
import { benchEncryption } from './encryption.ts'
import { benchGrowing } from './growing.ts'
import { benchIndexes } from './indexes.ts'
import { benchLimits, benchMatrix } from './matrix.ts'
import { benchMemory } from './memory.ts'
import { benchMoving } from './moving.ts'
import { profileOperations } from './profile.ts'
import { benchRates } from './rates.ts'
import { benchPromises, benchRatios } from './ratios.ts'
import { formatSection, type Report } from './report.ts'
import { benchScan } from './scan.ts'
import { benchScanChurn } from './scan-churn.ts'
import { benchSoak } from './soak.ts'
import { benchStartUp } from './start-up.ts'
import { benchWatch } from './watch.ts'

const CELL_SECONDS = 0.4
const FILTERED_CELL_SECONDS = 1.5
const RATE_SECONDS = 5
const LOSSY_SECONDS = 3600

/** The parts that find figures; the others print for themselves. */
async function reportsOf(args: BenchArguments): Promise<readonly Report[] | undefined> {
  const { part, argument, rounds, filter, isFiltered, seconds, perSecond } = args
  switch (part) {
    case 'all':
      return [
        ...(await benchPromises(rounds)),
        await benchLimits(seconds ?? CELL_SECONDS),
        await benchMatrix(compact(), seconds ?? CELL_SECONDS)
      ]
    case 'ratios':
      return [await benchRatios(rounds)]
    case 'limits':
      return [await benchLimits(seconds ?? CELL_SECONDS)]
    case 'matrix':
      return [
        isFiltered
          ? await benchMatrix(crossed(filter), seconds ?? FILTERED_CELL_SECONDS)
          : await benchMatrix(compact(), seconds ?? CELL_SECONDS)
      ]
    case 'open-loop': {
      const [mix] = filter.mixes
      const [level] = filter.levels
      const [valueBytes] = filter.values
      const change = { ...(mix && { mix }), ...(level && { level }), ...(valueBytes && { valueBytes }) }
      return [await benchRates(change, perSecond, seconds ?? RATE_SECONDS)]
    }
    case 'memory':
      return [await benchMemory(Number(argument ?? 1_000_000))]
    case 'cache':
      return [await benchCache(Number(argument ?? 200_000), rounds)]
    case 'scan':
      return [await benchScan(Number(argument ?? 1_000_000), rounds)]
    case 'scan-churn':
      return [await benchScanChurn(Number(argument ?? 1_000_000))]
    case 'index':
      return [await benchIndexes(Number(argument ?? 100_000), rounds)]
    case 'watch':
      return [await benchWatch(Number(argument ?? 100_000), rounds)]
    case 'soak':
      return [await benchSoak(Number(argument ?? 10))]
    case 'compression':
      return [await benchCompression(rounds)]
    case 'encryption':
      return [await benchEncryption(rounds)]
    case 'start-up':
      return [await benchStartUp(rounds)]
    case 'control-plane':
      return [
        await benchControlPlane({ members: Number(argument ?? 100), rounds, lossySeconds: seconds ?? LOSSY_SECONDS })
      ]
    case 'profile':
      await profileOperations(
        argument ?? 'profiles',
        filter.inFlight.length > 0 ? filter.inFlight : [64],
        filter.mixes.length > 0 ? filter.mixes : ['put', 'get']
      )
      return []
    case 'moving':
      await benchMoving(Number(argument ?? 1_000_000))
      return []
    case 'growing':
      await benchGrowing({ size: Number(argument ?? 4), perSecond: perSecond[0], rounds })
      return []
    default:
      return undefined
  }
}

const args = parseArguments(process.argv.slice(2))
const reports = await reportsOf(args)
if (reports === undefined) {
  console.error(
    `there is no bench "${args.part}"; there are ratios, matrix, limits, open-loop, memory, cache, compression, encryption, soak, ` +
      'start-up, membership, control-plane, moving, growing, scan, scan-churn, index, watch and profile'
  )
  process.exitCode = 2
} else {
  for (const { sections } of reports) for (const section of sections) console.log(`\n${formatSection(section)}`)
  if (args.results !== undefined) writeFileSync(args.results, JSON.stringify(reports))
}
