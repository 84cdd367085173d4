"""The Dagster component that mounts the pipeline in the project of another team.

The attributes of its ``defs.yaml`` replace settings; everything else is read from the environment, as in the code
location of this package. Add an attribute here only if two teams need different values of it. What the definitions do
belongs to `defs`.
"""

from twap_pipeline.components.twap_pipeline_component import TwapPipelineComponent

__all__ = ["TwapPipelineComponent"]
