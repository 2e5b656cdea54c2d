-- Health of a RepoFanout or RepoFanoutClass for Argo CD, from its conditions.
-- https://argo-cd.readthedocs.io/en/stable/operator-manual/health/#custom-health-checks
local conditions = {}
local status = obj.status or {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready, stalled = conditions.Ready, conditions.Stalled
local function health(state, condition, otherwise)
  return { status = state, message = condition and condition.message or otherwise }
end

if obj.metadata.deletionTimestamp ~= nil then
  if stalled and stalled.status == "True" then
    return health("Degraded", stalled)
  end
  return health("Progressing", ready, "being deleted")
end
if obj.spec and obj.spec.suspend == true then
  return health("Suspended", ready, "spec.suspend is true")
end
if ready == nil or status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", nil, "the operator has not looked at this generation yet")
end
if stalled and stalled.status == "True" then
  return health("Degraded", stalled)
end
if ready.status == "True" then
  return health("Healthy", ready)
end
-- A person authorizes the connection; the message has the link.
if ready.reason == "ConnectionPending" then
  return health("Suspended", ready)
end
local reconciling = conditions.Reconciling
if reconciling and reconciling.status == "True" then
  return health("Progressing", ready)
end
return health("Degraded", ready)
