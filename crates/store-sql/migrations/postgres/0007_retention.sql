-- Which rollouts an event concerns: asked before it is forgotten.
CREATE INDEX event_of_rollout_by_number ON event_of_rollout (number);
