import { atomic } from './atomic.ts'
import { churn } from './churn.ts'
import { clockSkew } from './clock-skew.ts'
import { crash } from './crash.ts'
import type { Scenario } from './draw.ts'
import { growth } from './growth.ts'
import { indexes } from './indexes.ts'
import { late } from './late.ts'
import { merge } from './merge.ts'
import { purge } from './purge.ts'
import { refound } from './refound.ts'
import { restart } from './restart.ts'
import { rot } from './rot.ts'
import { scan } from './scan.ts'
import { siblings } from './siblings.ts'
import { slowStore } from './slow-store.ts'
import { split } from './split.ts'
import { steady } from './steady.ts'
import { swarm } from './swarm.ts'
import { ttl } from './ttl.ts'
import { watch } from './watch.ts'

/** All scenarios by name, in the order in which seeds take turns. */
export const scenarios: ReadonlyMap<string, Scenario> = new Map(
  [
    steady,
    split,
    crash,
    clockSkew,
    growth,
    restart,
    slowStore,
    swarm,
    churn,
    purge,
    late,
    rot,
    merge,
    refound,
    scan,
    ttl,
    atomic,
    watch,
    siblings,
    indexes
  ].map(scenario => [scenario.name, scenario])
)
